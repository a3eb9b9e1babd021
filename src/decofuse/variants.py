"""What the networks of a method are called after rounds of meta training."""


def round_name(method: str, number: int) -> str:
    """What a method's network is called after some rounds; after none it has the method's own name."""
    return f"{method}-round{number}" if number else method


def split_round(variant: str) -> tuple[str, int]:
    """Method and number of rounds of a name made by `round_name`; of any other name, itself and 0."""
    method, _, number = variant.partition("-round")
    return (method, int(number)) if number.isdecimal() else (variant, 0)
