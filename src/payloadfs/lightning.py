"""The names of Lightning's app framework over `payloadfs.works`, so that its programs need another import only."""
