"""A training loop: energy of each epoch, and of each token."""

from carbon_tracker import EmissionsTracker, TaskEmissionsTracker

TOKENS_PER_BATCH = 4096


def batch() -> None:
    sum(number * number for number in range(50_000))


if __name__ == "__main__":
    tracker = EmissionsTracker(project_name="training", output_methods="csv,json")
    tracker.start()
    for epoch in range(3):
        with TaskEmissionsTracker(f"epoch {epoch}", tracker=tracker):
            for _ in range(10):
                batch()
            tracker.count("tokens", 10 * TOKENS_PER_BATCH)
    print(f"{tracker.energy_per('tokens')} J for a token")
    tracker.stop()
