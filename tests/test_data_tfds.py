"""A data set that tfds has prepared is read without TensorFlow; the files are made here, byte by byte."""

import io
import json

import numpy as np
import pytest

from irob import data

array_record = pytest.importorskip("array_record.python.array_record_module")
Image = pytest.importorskip("PIL.Image")


def varint(n: int) -> bytes:
    """Protocol buffers' integers: seven bits a byte, the lowest first."""
    return bytes([n & 127 | (128 if n > 127 else 0)]) + (varint(n >> 7) if n > 127 else b"")


def field(tag: int, content: bytes) -> bytes:
    """A field of given length."""
    return varint(tag << 3 | 2) + varint(len(content)) + content


def example(image: np.ndarray, label: int) -> bytes:
    """A tf.train.Example with a PNG and an integer."""
    png = io.BytesIO()
    Image.fromarray(image).save(png, "PNG")
    features = {b"image": field(1, field(1, png.getvalue())), b"label": field(3, field(1, varint(label)))}
    return field(1, b"".join(field(1, field(1, name) + field(2, value)) for name, value in features.items()))


@pytest.fixture
def prepared(tmp_path):
    """tfds's layout: six training and four test images, image i of grey value 10 i and label i."""
    folder = tmp_path / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    counts = {"train": 6, "test": 4}
    for split, n in counts.items():
        writer = array_record.ArrayRecordWriter(
            str(folder / f"mnist-{split}.array_record-00000-of-00001"), "group_size:1")
        for i in range(n):
            writer.write(example(np.full((28, 28), 10 * i, np.uint8), i))
        writer.close()
    features = "tensorflow_datasets.core.features"
    image = {"shape": {"dimensions": ["28", "28", "1"]}, "dtype": "uint8", "encodingFormat": "png"}
    (folder / "features.json").write_text(json.dumps({
        "pythonClassName": f"{features}.features_dict.FeaturesDict",
        "featuresDict": {"features": {
            "image": {"pythonClassName": f"{features}.image_feature.Image", "image": image},
            "label": {"pythonClassName": f"{features}.class_label_feature.ClassLabel",
                      "classLabel": {"numClasses": "10"}}}}}))
    (folder / "dataset_info.json").write_text(json.dumps({
        "fileFormat": "array_record", "moduleName": "tensorflow_datasets.image_classification.mnist",
        "name": "mnist", "version": "3.0.1",
        "splits": [{"name": s, "shardLengths": [str(n)], "numBytes": "1000",
                    "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"} for s, n in counts.items()]}))
    return tmp_path


def test_prepared_by_tfds(prepared):
    train, test = (data.load("mnist", split, data_dir=prepared) for split in ("train", "test"))
    assert train.x.shape == (6, 28, 28, 1) and test.y.tolist() == [0, 1, 2, 3] and test.num_classes == 10
    assert (np.rint(train.x[:, 3, 4, 0] * 255) == 10 * np.arange(6)).all()
