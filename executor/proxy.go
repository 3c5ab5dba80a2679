package executor

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"builder/executor/network"
	"builder/executor/sandbox"
	"builder/planner"
)

// proxy has a step's network lead through a proxy. All of a run have one authority.
func (r *run) proxy(c *network.Config, op planner.Exec) (*network.Authority, error) {
	authority, err := r.authority()
	if err != nil {
		return nil, err
	}
	c.Proxy, c.Direct, c.Hosts = authority, op.Network == planner.NetworkHost, map[string]string{}
	for _, h := range hosts(op.Hosts, gatewayOf(op)) {
		c.Hosts[h.Name] = h.IP
	}
	return authority, nil
}

// bundles are the files in which distributions keep the certificates that programs trust: Debian and
// Alpine, Fedora (two), openSUSE, OpenSSL's own place.
func bundles() []string {
	return []string{
		"/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
		"/etc/ssl/ca-bundle.pem",
		"/etc/ssl/cert.pem",
	}
}

// throughProxy tells a step's programs of its proxy: variables, whatever the recipe says
// there, and its certificate at the end of the bundles while the step runs.
func throughProxy(spec *sandbox.Spec, authority *network.Authority) {
	set := map[string]string{}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} {
		set[name], set[strings.ToLower(name)] = network.ProxyURL, network.ProxyURL
	}
	set["NO_PROXY"] = "localhost,127.0.0.1,::1"
	set["no_proxy"] = set["NO_PROXY"]
	spec.Env = slices.DeleteFunc(spec.Env, func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		_, ok := set[name]
		return ok
	})
	for _, name := range slices.Sorted(maps.Keys(set)) {
		spec.Env = append(spec.Env, name+"="+set[name])
	}
	block := slices.Concat([]byte("\n# the certificate of the build's proxy\n"), authority.PEM())
	for _, path := range bundles() {
		spec.Appended = append(spec.Appended, sandbox.File{Path: path, Data: block})
	}
}

// tell writes into a step's output what it has asked of the network.
func (w *wire) tell(out io.Writer) {
	if w.ended == nil || w.authority == nil {
		return
	}
	list, more := w.ended.Requests()
	if len(list) == 0 {
		return
	}
	var text strings.Builder
	text.WriteString("proxy network requests:\n")
	for _, r := range list {
		fmt.Fprintf(&text, "- %s\n", r)
	}
	if more > 0 {
		fmt.Fprintf(&text, "- and %d more\n", more)
	}
	_, _ = io.WriteString(out, text.String()) // a step's log never fails
}
