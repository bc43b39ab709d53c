"""``python -m pipeline``, and the ``pipeline`` command, are the command line."""

from pipeline.engines.process import prepare_process


def main() -> None:
    """Entry point: the process is prepared before anything heavy is imported."""
    prepare_process()
    from pipeline.cli import run_and_exit  # noqa: PLC0415  (not before)

    run_and_exit()


if __name__ == "__main__":
    main()
