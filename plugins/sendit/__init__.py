"""sendit: folders of DICOM in; coded, de-identified archives and rows out."""

__version__ = "2.0.0"
