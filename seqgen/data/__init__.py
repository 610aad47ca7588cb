"""What any data set needs: tokenizers, pairs and their padding, streams on the disk, downloads."""
