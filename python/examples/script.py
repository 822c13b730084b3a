"""A plain script, tracked from its first line to its last."""

from carbon_tracker import EmissionsTracker


def work() -> int:
    return sum(number * number for number in range(2_000_000))


if __name__ == "__main__":
    with EmissionsTracker(project_name="script") as tracker:
        work()
    print(f"{tracker.final_emissions} kg CO2e")
