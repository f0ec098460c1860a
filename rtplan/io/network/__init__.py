"""DICOM over the network: transport alone; callbacks decide what is done with an object."""
