package store

import "testing"

func FuzzParseList(f *testing.F) {
	f.Add(seal(listHeader, []byte(`{"Name":"docker.io/library/a:1","Members":[{"Reference":"docker.io/library/a:2","Descriptor":{"size":1}}]}`)))
	f.Add(seal(listHeader, []byte("{")))
	f.Add([]byte("builder list 2 0\n{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, ok, err := parseList(data)
		if (!ok || err != nil) && (l.Name != "" || l.Members != nil) {
			t.Errorf("got %+v of what is no list", l)
		}
	})
}
