package dap

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxMessage is the size in bytes of the largest message that is read.
const maxMessage = 16 << 20

// message is a request that was read, or what is written.
type message struct {
	Seq     int    `json:"seq"`
	Type    string `json:"type"`
	Command string `json:"command,omitempty"`
	Event   string `json:"event,omitempty"`

	Arguments json.RawMessage `json:"arguments,omitempty"`

	RequestSeq int    `json:"request_seq,omitempty"`
	Success    *bool  `json:"success,omitempty"`
	Message    string `json:"message,omitempty"`
	Body       any    `json:"body,omitempty"`
}

// read reads the next message: header lines, an empty one, and JSON.
func read(r *bufio.Reader) (*message, error) {
	length := -1
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			if errors.Is(err, io.EOF) && (line != "" || length >= 0) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			break
		}
		if len(line) > 4096 {
			return nil, errors.New("a header is too long")
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("%q is no header", line)
		}
		if strings.EqualFold(name, "Content-Length") {
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil || length < 0 || length > maxMessage {
				return nil, fmt.Errorf("%q is no length of a message", value)
			}
		}
	}
	if length < 0 {
		return nil, errors.New("a message has no length")
	}
	data := make([]byte, length)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, err
	}
	var m message
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	return &m, nil
}

// write sends a message.
func write(w io.Writer, m *message) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "Content-Length: %d\r\n\r\n%s", len(data), data)
	return err
}
