"""The last door: images, masks, tables and DICOM leave here, each file whole or not at all."""
