package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"

	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"builder/image"
)

// Host returns the name of a registry as people write it for a login: "docker.io"
// for docker's own under each of its addresses, and without scheme and path.
func Host(address string) (string, error) {
	if _, rest, ok := strings.Cut(address, "://"); ok {
		address = rest
	}
	host, _, _ := strings.Cut(address, "/")
	switch host {
	case "", "docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		return image.DefaultDomain, nil
	}
	if !isHost(host) {
		// A single word is a registry only with a port or a dot in it, in names.
		if strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return "", fmt.Errorf("%q is no registry: a host name or an address, and perhaps a port", host)
		}
	}
	return host, nil
}

// address is the key of a registry's credentials in docker's config.json.
func address(host string) string { return credentials.ServerAddressFromRegistry(host) }

// Login asks a registry whether it takes a user and a password, and saves them
// where docker does: with the helper for the registry, the store, or in
// config.json. It returns where; empty means a helper or store.
func (c *Client) Login(ctx context.Context, host, user, password string) (place string, err error) {
	store, err := c.credentials()
	if err != nil {
		return "", err
	}
	cred := auth.Credential{Username: user, Password: password}
	if err := c.ping(ctx, host, cred); err != nil {
		return "", fmt.Errorf("login to %s: %w", host, err)
	}
	if err := store.Put(ctx, address(host), cred); err != nil {
		return "", fmt.Errorf("login to %s: save the credentials: %w", host, err)
	}
	return c.savedIn(host, store.ConfigPath()), nil
}

// savedIn returns config.json where that holds the password itself.
func (c *Client) savedIn(host, config string) string {
	data, err := os.ReadFile(config)
	if err != nil {
		return ""
	}
	var file struct {
		Auths map[string]struct{ Auth string }
	}
	if err := json.Unmarshal(data, &file); err != nil || file.Auths[address(host)].Auth == "" {
		return ""
	}
	return config
}

// ping asks the registry's front door with credentials.
func (c *Client) ping(ctx context.Context, host string, cred auth.Credential) error {
	ref := registry.Reference{Registry: host}
	known, plain, err := c.host(host, ref.Host())
	if err != nil {
		return err
	}
	client := *known
	client.Cache = nil
	client.Credential = auth.StaticCredential(host, cred)
	r := &remote.Registry{RepositoryOptions: remote.RepositoryOptions{Client: &client, Reference: ref, PlainHTTP: plain}}
	err = r.Ping(ctx)
	if answer, ok := errors.AsType[*errcode.ErrorResponse](err); ok && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden) {
		return fmt.Errorf("%w: the registry does not take this user name and password", ErrDenied)
	}
	return err
}

// User returns who is logged in to a registry, with the password; ok is false
// where nobody is.
func (c *Client) User(ctx context.Context, host string) (user, password string, ok bool, err error) {
	store, err := c.credentials()
	if err != nil {
		return "", "", false, err
	}
	cred, err := store.Get(ctx, address(host))
	if err != nil {
		return "", "", false, fmt.Errorf("credentials for %s: %w", host, err)
	}
	return cred.Username, cred.Password, cred.Username != "" && cred.Password != "", nil
}

// Logout forgets the credentials of a registry.
func (c *Client) Logout(ctx context.Context, host string) error {
	store, err := c.credentials()
	if err != nil {
		return err
	}
	if _, err := os.Stat(store.ConfigPath()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := store.Delete(ctx, address(host)); err != nil {
		return fmt.Errorf("logout of %s: %w", host, err)
	}
	return nil
}
