"""Numbers as a sentence has them."""


def counted(count: int, one: str, many: str = "") -> str:
    """`1 video`, `2,000 videos`; `many` where an s will not do."""
    return f"1 {one}" if count == 1 else f"{count:,} {many or one + 's'}"


def size_text(num_bytes: int) -> str:
    """`812 bytes`, `12.0 KB`, `3.4 GB`: powers of ten, as disks are sold."""
    if num_bytes < 1000:
        return counted(num_bytes, "byte")
    size = float(num_bytes)
    for unit in ("KB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:,.1f} TB"
