"""Text that came from outside, such as names of files, made safe for the place where it is shown."""

import re

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{special: f"\\{special}" for special in "{}$&#_%"},
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "−": "$-$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "²": "$^2$",
    "³": "$^3$",
    "√": r"$\surd$",
    "Σ": r"$\Sigma$",
    "Δ": r"$\Delta$",
    "σ": r"$\sigma$",
    "ρ": r"$\rho$",
    "π": r"$\pi$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "–": "--",
}


def printable(text: str) -> str:
    """On one line: line breaks, control characters and bytes that are no text become escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def markdown(text: str) -> str:
    """For Markdown, cells of tables included: characters that would format or end something are escaped."""
    return re.sub(r"([\\`*_\[\]<>|~&#$!])", r"\\\1", printable(text))


def latex(text: str) -> str:
    """For LaTeX's text mode; signs and Greek letters of formulas become mathematics."""
    return "".join(_LATEX.get(char, char) for char in printable(text))


def csv_cell(text: str) -> str:
    """For a CSV file that someone may open in a spreadsheet: what would be a formula starts with an apostrophe."""
    return ("'" + text if text[:1] in tuple("=+-@\t\r") else text).encode("utf-8", "backslashreplace").decode()


def listed(names: list[str], shown: int = 10) -> str:
    """The first of the names, and how many more there are."""
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{', '.join(printable(name) for name in names[:shown])}{rest}"
