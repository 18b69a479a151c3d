"""De-identification of medical images after DICOM PS3.15, Annex E: names out, links and geometry kept."""
