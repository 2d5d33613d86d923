"""Tables of the device profiles for docs/devices.md and the card of the data: ``python -m tools.device_table``."""

import multispin_env as ms


def device_table(models: bool = False) -> str:
    """Return the table as Markdown, from the fastest cold device to the slowest; ``models`` adds joules and what ran.

    ``~`` precedes estimates of the ns that a token of context adds.
    """
    titles = ["profile", "ms, cold", "sustained", "ns a token of context", "prompt tokens/s"]
    titles += ["J", "model and runtime"] if models else []
    lines = [titles, ["---"] * len(titles)]
    devices: list[ms.device.DeviceProfile] = [ms.registry.DEVICES.load(name) for name in ms.registry.DEVICES.names()]
    for device in sorted(devices, key=lambda device: device.draft_time):
        sustained = "" if device.sustained_time is None else f"{1e3 * device.sustained_time:.1f}"
        joules = "" if device.joules_per_token is None else f"{device.joules_per_token:.2f}"
        mark = "~" if device.context_source.startswith("estimated") else ""
        growth = f"{mark}{1e9 * device.draft_context_time:.0f}" if device.draft_context_time else ""
        rate = f"{device.prompt_rate:.0f}" if device.prompt_rate else ""
        row = [f"`{device.name}`", f"{1e3 * device.draft_time:.1f}", sustained, growth, rate]
        lines.append([*row, *([joules, device.model] if models else [])])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(f"{device_table()}\n\n{device_table(models=True)}")
