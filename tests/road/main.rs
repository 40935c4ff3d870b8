//! The road from images to a measured network, through the binary.
