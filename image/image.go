package image

// Layer is one layer of an image on this machine.
type Layer struct {
	// Content is what the layer holds; for a layer that came from elsewhere it is
	// [ForeignContent] of DiffID.
	Content ContentDigest
	// DiffID is the digest of the uncompressed tar, Size its length in bytes (0
	// where it is not known yet).
	DiffID Digest
	Size   int64
	// Stamps are the times that a layer made here carries in its tar, in seconds
	// since 1970: Stamps[0] is its own, Stamps[k] that of the layer k places below
	// (needed by compiled Python files, whose headers repeat their source's time).
	// It is empty for a layer that came from elsewhere.
	Stamps []int64
	// Blob is the layer as it was received, for a layer that came from elsewhere.
	Blob *Descriptor
}

// Foreign reports whether the layer came from elsewhere.
func (l Layer) Foreign() bool { return len(l.Stamps) == 0 }

// Image is one image for one platform: a config, whose RootFS and History agree
// with Layers, and the layers, lowest first.
type Image struct {
	Config      Config
	Layers      []Layer
	Annotations map[string]string // of the manifest
}

// Index is several images under one name, one for each platform.
type Index struct {
	Images      []Image
	Annotations map[string]string
}
