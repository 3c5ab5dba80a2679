package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"builder/image"
)

// chunkSize is how much of a blob is sent in one request. A connection that
// breaks costs no more than that.
const chunkSize = 32 << 20

// upload sends one blob. What a registry has got stays there when a connection
// breaks: it is asked how much that is, and the rest is sent.
//
// See https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-a-blob-in-chunks
type upload struct {
	repo    *remote.Repository
	blob    image.Descriptor
	open    func() (io.ReadCloser, error)
	options PushOptions

	location *url.URL // nil before it has begun
	sent     int64    // bytes that the registry has
	lost     bool     // something broke: it has to be asked how many
}

// run sends the blob, or finds it mounted.
func (u *upload) run(ctx context.Context) error {
	for failures := 0; ; {
		before := u.sent
		done, err := u.attempt(ctx)
		if done {
			return nil
		}
		if u.sent > before {
			failures = 0
		}
		if failures++; failures >= tries || ctx.Err() != nil || final(err) {
			return fmt.Errorf("push blob %s: %w", u.blob.Digest, err)
		}
		if err := pause(ctx, firstPause<<failures); err != nil {
			return err
		}
		u.lost = true
	}
}

// final reports whether trying again is of no use: this side's fault, or the
// registry's considered answer.
func final(err error) bool {
	if _, ours := errors.AsType[openError](err); ours {
		return true
	}
	answer, ok := errors.AsType[*errcode.ErrorResponse](err)
	if !ok || answer.StatusCode >= 500 {
		return false
	}
	switch answer.StatusCode {
	case http.StatusTooManyRequests, http.StatusNotFound, http.StatusRequestedRangeNotSatisfiable:
		return answer.Method == http.MethodPost && answer.StatusCode == http.StatusNotFound
	case http.StatusUnauthorized:
		return answer.Method == http.MethodPost // a token may run out while a blob is sent
	}
	return true
}

// attempt begins the upload, or goes on with it, until it is done or breaks.
func (u *upload) attempt(ctx context.Context) (done bool, err error) {
	if err := u.resume(ctx); err != nil {
		return false, err
	}
	if u.location == nil {
		mounted, err := u.begin(ctx)
		if mounted {
			u.options.note(u.blob, "Mounted from "+u.options.Known[u.blob.Digest])
		}
		if mounted || err != nil {
			return mounted, err
		}
	}
	body, err := u.open()
	if err != nil {
		return false, openError{err}
	}
	err = skip(body, u.sent)
	if err == nil {
		err = u.send(ctx, body)
	}
	if err = errors.Join(err, body.Close()); err != nil {
		return false, err
	}
	u.options.report(u.blob, u.blob.Size, true)
	return true, nil
}

// skip moves a reader forward.
func skip(r io.Reader, n int64) error {
	if n == 0 {
		return nil
	}
	var err error
	if s, ok := r.(io.Seeker); ok {
		_, err = s.Seek(n, io.SeekStart)
	} else {
		_, err = io.CopyN(io.Discard, r, n)
	}
	if err != nil {
		return openError{err}
	}
	return nil
}

// begin asks for a place to send to, or for the blob of another repository.
func (u *upload) begin(ctx context.Context) (mounted bool, err error) {
	scheme := "https"
	if u.repo.PlainHTTP {
		scheme = "http"
	}
	to := &url.URL{Scheme: scheme, Host: u.repo.Reference.Host(), Path: "/v2/" + u.repo.Reference.Repository + "/blobs/uploads/"}
	if from, ok := u.options.Known[u.blob.Digest]; ok && from != u.repo.Reference.Repository {
		to.RawQuery = url.Values{"mount": {string(u.blob.Digest)}, "from": {from}}.Encode()
		source := u.repo.Reference
		source.Repository = from
		ctx = auth.AppendRepositoryScope(ctx, source, auth.ActionPull)
	}
	resp, err := u.do(ctx, http.MethodPost, to, nil, "", http.StatusAccepted, http.StatusCreated)
	if err != nil {
		return false, err
	}
	return resp.StatusCode == http.StatusCreated && to.RawQuery != "", nil
}

// send sends the rest of the blob: a small one at once, a large one in chunks.
func (u *upload) send(ctx context.Context, body io.Reader) error {
	if u.blob.Size <= chunkSize && u.sent == 0 {
		_, err := u.do(ctx, http.MethodPut, u.closing(), u.counted(body, u.blob.Size), "", http.StatusCreated)
		return err
	}
	for u.sent < u.blob.Size {
		n := min(chunkSize, u.blob.Size-u.sent)
		span := fmt.Sprintf("%d-%d", u.sent, u.sent+n-1)
		if _, err := u.do(ctx, http.MethodPatch, u.location, u.counted(body, n), span, http.StatusAccepted, http.StatusNoContent); err != nil {
			return err
		}
		u.sent += n
	}
	_, err := u.do(ctx, http.MethodPut, u.closing(), nil, "", http.StatusCreated)
	return err
}

// closing is where the last request goes, with the digest.
func (u *upload) closing() *url.URL {
	to := *u.location
	query := to.Query()
	query.Set("digest", string(u.blob.Digest))
	to.RawQuery = query.Encode()
	return &to
}

func (u *upload) counted(body io.Reader, n int64) *sending {
	return &sending{Reader: io.LimitReader(body, n), n: n, options: u.options, blob: u.blob, sent: u.sent}
}

// resume asks how much the registry has, after something broke. A registry that
// does not say gets the blob anew; one that does not answer is asked again.
func (u *upload) resume(ctx context.Context) error {
	if u.location == nil || !u.lost {
		return nil
	}
	resp, err := u.do(ctx, http.MethodGet, u.location, nil, "", http.StatusNoContent)
	if err != nil {
		if _, answered := errors.AsType[*errcode.ErrorResponse](err); !answered {
			return err
		}
		u.location, u.sent, u.lost = nil, 0, false
		return nil
	}
	u.sent, u.lost = 0, false
	_, end, _ := strings.Cut(strings.TrimPrefix(resp.Header.Get("Range"), "bytes="), "-")
	if last, err := strconv.ParseInt(end, 10, 64); err == nil && last > 0 && last < u.blob.Size {
		u.sent = last + 1
	}
	return nil
}

// do sends a request and takes over the place where the next one goes.
func (u *upload) do(ctx context.Context, method string, to *url.URL, body *sending, span string, want ...int) (*http.Response, error) {
	var r io.Reader
	if body != nil {
		r = body
	}
	req, err := http.NewRequestWithContext(ctx, method, to.String(), r)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.ContentLength = body.n
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	if span != "" {
		req.Header.Set("Content-Range", span)
	}
	resp, err := u.repo.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	for _, status := range want {
		if resp.StatusCode == status {
			return resp, u.follow(to, resp)
		}
	}
	return nil, refusal(resp)
}

// follow takes the place where an upload goes on. It is on the same machine:
// credentials are sent there.
func (u *upload) follow(from *url.URL, resp *http.Response) error {
	text := resp.Header.Get("Location")
	if text == "" || resp.StatusCode == http.StatusCreated {
		return nil
	}
	to, err := from.Parse(text)
	if err != nil {
		return fmt.Errorf("upload goes on at %q: %w", text, err)
	}
	if to.Hostname() != from.Hostname() {
		return fmt.Errorf("upload goes on at %q, which is not %s", to.Host, from.Host)
	}
	to.Host = from.Host // some leave out the port
	if from.Scheme == "https" {
		to.Scheme = "https"
	}
	u.location = to
	return nil
}

// refusal is an answer that was not hoped for.
func refusal(resp *http.Response) error {
	e := &errcode.ErrorResponse{Method: resp.Request.Method, URL: resp.Request.URL, StatusCode: resp.StatusCode}
	var body struct {
		Errors errcode.Errors `json:"errors"`
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err == nil && json.NewDecoder(bytes.NewReader(data)).Decode(&body) == nil {
		e.Errors = body.Errors
	}
	return e
}
