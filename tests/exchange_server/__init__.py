"""Local servers that replay the real captures as exchanges do, with faults on demand."""
