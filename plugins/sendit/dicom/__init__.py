"""DICOM as bytes: elements are located without decoding values that are not needed."""
