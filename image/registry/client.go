package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"builder/image"
)

// ErrNotFound is returned for what a registry says that it does not have.
var ErrNotFound = errors.New("not found in the registry")

// ErrDenied is returned where a registry wants other credentials or none will do.
var ErrDenied = errors.New("access denied")

// Options say how registries are reached. The zero value does.
type Options struct {
	Config Config
	// Insecure takes certificates that prove nothing, and plain http, from any
	// registry: --tls-verify=false.
	Insecure bool
	// CertDirs are directories in the form of docker's certs.d: one for each
	// registry, with its authorities (*.crt) and the client's certificates (*.cert,
	// each with its *.key).
	CertDirs []string
	// UserAgent is sent with each request; empty is "builder".
	UserAgent string
}

// Client talks to registries. It may be used from many goroutines.
type Client struct {
	options     Options
	credentials func() (*credentials.DynamicStore, error)

	mu    sync.Mutex
	hosts map[string]*auth.Client
}

// New returns a client. Nothing is read or asked before it is needed.
func New(o Options) *Client {
	if o.UserAgent == "" {
		o.UserAgent = "builder"
	}
	return &Client{
		options: o,
		hosts:   map[string]*auth.Client{},
		credentials: sync.OnceValues(func() (*credentials.DynamicStore, error) {
			store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{AllowPlaintextPut: true, DetectDefaultNativeStore: true})
			if err != nil {
				return nil, fmt.Errorf("docker's config.json: %w", err)
			}
			return store, nil
		}),
	}
}

// endpoint is a place where a repository can be read.
type endpoint struct {
	host string // as people write it
	path string
}

func (e endpoint) String() string { return e.host + "/" + e.path }

// endpoints returns where a repository can be read: the mirrors of its registry,
// then that.
func (c *Client) endpoints(ref image.Reference) []endpoint {
	var all []endpoint
	for _, m := range c.options.Config.Registry[ref.Domain()].Mirrors {
		host, prefix, nested := strings.Cut(strings.TrimSuffix(m, "/"), "/")
		path := ref.Path()
		if nested {
			path = prefix + "/" + path
		}
		all = append(all, endpoint{host, path})
	}
	return append(all, origin(ref))
}

// origin is the registry of a name itself.
func origin(ref image.Reference) endpoint { return endpoint{ref.Domain(), ref.Path()} }

// repository returns the client of a repository.
func (c *Client) repository(e endpoint) (*remote.Repository, error) {
	r := registry.Reference{Registry: e.host, Repository: e.path}
	client, plain, err := c.host(e.host, r.Host())
	if err != nil {
		return nil, err
	}
	return &remote.Repository{
		Client:    client,
		Reference: r,
		PlainHTTP: plain,
		ManifestMediaTypes: []string{
			image.OCI.Index(), image.OCI.Manifest(), image.Docker.Index(), image.Docker.Manifest(),
		},
	}, nil
}

// host returns the client of a registry by the name that people use and the name
// of the machine, and whether its addresses begin with http.
func (c *Client) host(name, machine string) (*auth.Client, bool, error) {
	settings := c.options.Config.Registry[name]
	plain := settings.HTTP != nil && *settings.HTTP || settings.HTTP == nil && isLocal(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	if client, ok := c.hosts[name]; ok {
		return client, plain, nil
	}
	if c.options.Insecure {
		settings.Insecure = &c.options.Insecure
	}
	if err := settings.addCertificates(c.options.CertDirs, name); err != nil {
		return nil, false, err
	}
	transport, err := newTransport(machine, settings)
	if err != nil {
		return nil, false, err
	}
	client := &auth.Client{
		Client:     &http.Client{Transport: transport},
		Cache:      auth.NewCache(),
		ClientID:   "builder",
		Credential: c.credential,
	}
	client.SetUserAgent(c.options.UserAgent)
	c.hosts[name] = client
	return client, plain, nil
}

// credential looks up docker's credentials for exactly one host.
func (c *Client) credential(ctx context.Context, host string) (auth.Credential, error) {
	store, err := c.credentials()
	if err != nil {
		return auth.EmptyCredential, err
	}
	return credentials.Credential(store)(ctx, host)
}

// explain turns an error of the library into one that says what it means.
func explain(err error) error {
	if errors.Is(err, errdef.ErrNotFound) {
		return ErrNotFound
	}
	answer, ok := errors.AsType[*errcode.ErrorResponse](err)
	if errors.Is(err, auth.ErrBasicCredentialNotFound) || ok && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden) {
		return fmt.Errorf("%w: the repository does not exist, or needs other credentials (builder login, or docker login): %w", ErrDenied, err)
	}
	return err
}
