"""DICOM as bytes: elements found without decoding what nobody asks for."""
