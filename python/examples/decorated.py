"""Functions and coroutines, each call tracked by itself."""

import asyncio

from carbon_tracker import track_emissions


@track_emissions(project_name="sum", offline=True, country_iso_code="FRA")
def add_up() -> int:
    return sum(range(3_000_000))


@track_emissions(project_name="wait", offline=True, country_iso_code="FRA")
async def wait() -> None:
    await asyncio.sleep(0.2)


if __name__ == "__main__":
    add_up()
    asyncio.run(wait())
