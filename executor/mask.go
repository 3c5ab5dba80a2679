package executor

import "bytes"

// shortest is how long a secret has to be to be looked for: one that is shorter
// stands in output that has nothing to do with it.
const shortest = 4

// hidden stands in output where a secret was.
const hidden = "****"

// mask hides secrets in a stream of output.
type mask struct {
	words [][]byte
	held  []byte // the end of what was written, where a secret may have begun
}

// newMask hides values, but for the white space around them.
func newMask(values [][]byte) *mask {
	m := &mask{}
	for _, v := range values {
		if word := bytes.TrimSpace(v); len(word) >= shortest {
			m.words = append(m.words, word)
		}
	}
	return m
}

// write returns what of the stream is sure by now, with p.
func (m *mask) write(p []byte) []byte {
	if len(m.words) == 0 {
		return p
	}
	data := append(m.held, p...)
	m.held = nil
	var out []byte
	for {
		at, n := m.first(data)
		if at < 0 {
			break
		}
		out = append(append(out, data[:at]...), hidden...)
		data = data[at+n:]
	}
	keep := m.begun(data)
	m.held = append([]byte(nil), data[len(data)-keep:]...)
	return append(out, data[:len(data)-keep]...)
}

// end returns what is left.
func (m *mask) end() []byte {
	rest := m.held
	m.held = nil
	return rest
}

// first finds the first secret in data, of several there the longest.
func (m *mask) first(data []byte) (at, n int) {
	at = -1
	for _, w := range m.words {
		i := bytes.Index(data, w)
		if i >= 0 && (at < 0 || i < at || i == at && len(w) > n) {
			at, n = i, len(w)
		}
	}
	return at, n
}

// begun is how much of the end of data may be the beginning of a secret.
func (m *mask) begun(data []byte) int {
	longest := 0
	for _, w := range m.words {
		for n := min(len(w)-1, len(data)); n > longest; n-- {
			if bytes.HasPrefix(w, data[len(data)-n:]) {
				longest = n
			}
		}
	}
	return longest
}
