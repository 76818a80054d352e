"""Checksums of annotation files as repositories of the field carry them: information, no demand."""

KNOWN: dict[str, dict[str, str]] = {  # name of the file, its sha256, whose copy it is
    "captions_msvd.json": {
        "11bc68e8441438121c1c7321526ef1d1fc6553d3b801baef1cca1d3429e306b1": "X-Pool",
    },
    "youtube_mapping.txt": {
        "32dce93ef98a629feb74057fa7317c7e000ba4f98b6c0839088210eb69900ac8": "arctic-capgen-vid",
    },
    "MSRVTT_train.9k.csv": {
        "0a7ece2418e1f7ac5680555a04ddfef8950293ac3c4bdd6584fb0fa6cc0ff7d3": "X-Pool, DRL, HBI",
    },
    "MSRVTT_JSFUSION_test.csv": {
        "e61144b312c8a2fc2126f96504c981f8c23c05b3ba9655a56e2af50ac8a4b16a": "X-Pool, DRL, HBI",
    },
    "train_val_annotation.zip": {
        "ce2d97dd82d03e018c6f9ee69c96eb784397d1c83f734fdb8c17aafa5e27da31": "the official one",
    },
    "test_videodatainfo.json.zip": {
        "0871bbe19dc9c13edeef4af5d7be39600a2e2b7d967e0206bb5911d633af24a0": "the official one",
    },
}
