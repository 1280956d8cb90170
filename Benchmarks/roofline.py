"""The least time that a machine's measured limits allow for a piece of work."""


def peak(work, limits):
    """Operations a second of the instruction that the work uses."""
    multiply_add = limits["fmaFlopsPerSecond"]
    return limits.get("dotFlopsPerSecond", multiply_add) if work.get("usesPairs") else multiply_add


def of_limit(work, seconds, limits):
    """The roofline's least time over the measured one: reading at full bandwidth, or three quarters
    of the peak of the instruction used."""
    least = max(
        work["bytes"] / limits["readBytesPerSecond"], work["flops"] / (0.75 * peak(work, limits)))
    return least / seconds
