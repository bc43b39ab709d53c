"""What optimal packing saves against first-fit decreasing, and whether that is worth its time."""

from dataclasses import dataclass

_WORTH_IT = 0.005
"""Share of the rows from which a minute of packing pays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """Rows of a part, or sums over parts."""

    first_fit_rows: int
    """Rows by first-fit decreasing."""
    rows: int
    """Rows by optimal packing."""
    lower_bound: int
    """Rows that no packing can do without."""

    def sentence(self) -> str:
        """Whether it is worth it, for people."""
        saved = self.first_fit_rows - self.rows
        share = saved / max(self.first_fit_rows, 1)
        of, over = (
            f"{saved:,} of {self.first_fit_rows:,} rows",
            f"{self.rows - self.lower_bound:,} over the lower bound",
        )
        if share < _WORTH_IT:
            return f"first-fit decreasing is as good here: optimal packing saves {of} ({share:.3%}) and is {over}"
        return f"optimal packing saves {of} ({share:.2%}) and is {over}"
