"""The download stage: what will be fetched (``plan``), and the stage itself (``stage``)."""
