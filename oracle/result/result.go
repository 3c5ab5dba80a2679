package result

import "encoding/json"

// A Build is the outcome of one build.
type Build struct {
	Refused bool    `json:"refused,omitempty"`
	Message string  `json:"message,omitempty"` // of a refusal
	Images  []Image `json:"images,omitempty"`
	Index   *Index  `json:"index,omitempty"` // of a build for several platforms
}

// An Index is what an image index says besides its manifests.
type Index struct {
	MediaType   string            `json:"mediaType"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platforms   []string          `json:"platforms"`
}

// An Image is one manifest and what it leads to.
type Image struct {
	Platform         string            `json:"platform,omitempty"` // as the descriptor says
	MediaType        string            `json:"mediaType"`
	ArtifactType     string            `json:"artifactType,omitempty"`
	ConfigType       string            `json:"configType"`
	Annotations      map[string]string `json:"annotations,omitempty"`
	IndexAnnotations map[string]string `json:"indexAnnotations,omitempty"` // of its descriptor
	Config           json.RawMessage   `json:"config"`
	Layers           []Layer           `json:"layers"`
	Tree             []Entry           `json:"tree"`
	Faults           []string          `json:"faults,omitempty"` // digests and sizes that do not hold
}

// A Layer is one layer of an image.
type Layer struct {
	MediaType   string            `json:"mediaType"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Paths       []string          `json:"paths"` // sorted; directories end in /
}

// An Entry is one path of a merged tree.
type Entry struct {
	Path   string            `json:"path"`
	Type   string            `json:"type"` // file dir symlink char block fifo
	Mode   int64             `json:"mode"`
	UID    int               `json:"uid,omitempty"`
	GID    int               `json:"gid,omitempty"`
	Size   int64             `json:"size,omitempty"`
	Digest string            `json:"digest,omitempty"`
	Text   *string           `json:"text,omitempty"` // the content of a small text file
	Link   string            `json:"link,omitempty"`
	Twin   string            `json:"twin,omitempty"` // the first of several names, in every one of them
	Xattrs map[string]string `json:"xattrs,omitempty"`
	Device string            `json:"device,omitempty"`
}
