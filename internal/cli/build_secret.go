package cli

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"strings"
)

// secrets are --secret by their ids. Their values are read when they are asked
// for, and are in no key, layer, log or history.
type secrets map[string]secret

// secret is where a value is: in a file or in a variable of the environment.
type secret struct{ file, env string }

// maxSecret is how large a secret may be, as with BuildKit.
const maxSecret = 500 << 10

// parseSecrets reads --secret: id=ID[,src=PATH|env=NAME][,type=file|env].
func parseSecrets(texts []string) (secrets, error) {
	all := secrets{}
	for _, text := range texts {
		id, s, err := parseSecret(text)
		if err != nil {
			return nil, err
		}
		if _, err := s.read(); err != nil {
			return nil, usage("--secret id=%s: %v", id, err)
		}
		all[id] = s
	}
	return all, nil
}

func parseSecret(text string) (id string, s secret, err error) {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return "", s, usage("--secret: %q is not a list of KEY=VALUE", text)
	}
	kind := ""
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return "", s, usage("--secret: %q is not KEY=VALUE", field)
		}
		switch strings.ToLower(key) {
		case "id":
			id = value
		case "src", "source":
			s.file = value
		case "env":
			s.env = value
		case "type":
			if kind = value; kind != "file" && kind != "env" {
				return "", s, usage("--secret: type %q is not supported", value).WithHint("file or env")
			}
		default:
			return "", s, usage("--secret: unknown key %q", key).WithHint("id, src, env, type")
		}
	}
	switch {
	case id == "":
		return "", s, usage("--secret: %q has no id", text).WithHint("for example id=token,src=token.txt")
	case s.file != "" && s.env != "":
		return "", s, usage("--secret id=%s: both src and env say where it is", id)
	case kind == "env" && s.env == "":
		s.env, s.file = s.file, ""
	}
	if s == (secret{}) {
		// As with docker: a variable of that name, or else a file.
		s.env = id
		if _, ok := os.LookupEnv(id); !ok || kind == "file" {
			s = secret{file: id}
		}
	}
	return id, s, nil
}

// read returns the value.
func (s secret) read() ([]byte, error) {
	if s.env != "" {
		value, ok := os.LookupEnv(s.env)
		if !ok {
			return nil, fmt.Errorf("the environment has no %s", s.env)
		}
		return []byte(value), nil
	}
	f, err := os.Open(s.file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var value bytes.Buffer
	if _, err := io.Copy(&value, io.LimitReader(f, maxSecret+1)); err != nil {
		return nil, err
	}
	if value.Len() > maxSecret {
		return nil, fmt.Errorf("%s has more than %d bytes", s.file, maxSecret)
	}
	return value.Bytes(), nil
}

// lookup returns the value of a secret; ok is false where the build has none of
// that id.
func (all secrets) lookup(id string) (value []byte, ok bool) {
	s, ok := all[id]
	if !ok {
		return nil, false
	}
	value, err := s.read()
	return value, err == nil
}
