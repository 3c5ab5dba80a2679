package image

// LabelCommit marks an image that was made by hand out of a container, and so
// are its annotation and all images that were built on it by recipes: what is in it
// cannot be made again. Its value is the ID of the image that was changed.
const LabelCommit = "builder.committed-from"
