package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"builder/image"
)

// errEnough ends a listing.
var errEnough = errors.New("enough")

// Catalog calls each with the repositories of a registry whose path contains
// term, until it returns false.
//
// See https://distribution.github.io/distribution/spec/api/#catalog
func (c *Client) Catalog(ctx context.Context, host, term string, each func(path string) bool) error {
	ref := registry.Reference{Registry: host}
	client, plain, err := c.host(host, ref.Host())
	if err != nil {
		return err
	}
	r := &remote.Registry{RepositoryOptions: remote.RepositoryOptions{Client: client, Reference: ref, PlainHTTP: plain}}
	err = r.Repositories(ctx, "", func(paths []string) error {
		for _, path := range paths {
			if strings.Contains(path, term) && !each(path) {
				return errEnough
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return fmt.Errorf("list %s: %w", host, explainCatalog(err))
	}
	return nil
}

func explainCatalog(err error) error {
	if answer, ok := errors.AsType[*errcode.ErrorResponse](err); ok && answer.StatusCode == http.StatusNotFound {
		return fmt.Errorf("the registry has no catalog: %w", err)
	}
	return explain(err)
}

// Tags returns the tags of a repository, sorted.
func (c *Client) Tags(ctx context.Context, ref image.Reference) ([]string, error) {
	var faults error
	for _, e := range c.endpoints(ref) {
		repo, err := c.repository(e)
		if err != nil {
			return nil, err
		}
		var tags []string
		err = repo.Tags(ctx, "", func(some []string) error {
			tags = append(tags, some...)
			return nil
		})
		if err == nil {
			slices.Sort(tags)
			return tags, nil
		}
		faults = errors.Join(faults, fmt.Errorf("tags of %s: %w", e, explain(err)))
	}
	return nil, faults
}

// Result is a repository that a search found, by the names of Docker Hub's API.
type Result struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Stars       int    `json:"star_count"`
	Official    bool   `json:"is_official"`
	Automated   bool   `json:"is_automated"`
}

// Search asks Docker Hub for repositories. limit is at most 100.
func (c *Client) Search(ctx context.Context, term string, limit int) ([]Result, error) {
	base := c.options.Config.Registry[image.DefaultDomain].Search
	if base == "" {
		base = "https://index.docker.io"
	}
	to, err := url.Parse(strings.TrimSuffix(base, "/") + "/v1/search")
	if err != nil {
		return nil, fmt.Errorf("search %q: %w", term, err)
	}
	to.RawQuery = url.Values{"q": {term}, "n": {strconv.Itoa(limit)}}.Encode()
	results, err := c.search(ctx, to)
	if err != nil {
		return nil, fmt.Errorf("search %q: %w", term, err)
	}
	return results[:min(limit, len(results))], nil
}

func (c *Client) search(ctx context.Context, to *url.URL) ([]Result, error) {
	settings := c.options.Config.Registry[to.Host]
	if c.options.Insecure {
		settings.Insecure = &c.options.Insecure
	}
	if plain := to.Scheme == "http"; plain {
		settings.HTTP = &plain
	}
	transport, err := newTransport(to.Host, settings)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", c.options.UserAgent)
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, refusal(resp)
	}
	var found struct {
		Results []Result `json:"results"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, image.MaxManifest)).Decode(&found); err != nil {
		return nil, fmt.Errorf("the answer of %s is not what Docker Hub answers: %w", to.Host, err)
	}
	return found.Results, nil
}
