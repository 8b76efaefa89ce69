package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"chunkstream/event"
)

// maxEvent bounds one event in bytes. The server's own are below 4 KiB.
const maxEvent = 1 << 20

// readSSE is the reader of Server-Sent Events (WHATWG HTML section 9.2).
func (c *Client) readSSE(ctx context.Context, path string, since int64, open func() error,
	each func(event.Event) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	mute := time.AfterFunc(silence, func() { cancel(fmt.Errorf("%s: nothing heard for %v", path, silence)) })
	defer mute.Stop()

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return err
	}
	req.Header = c.header()
	req.Header.Set("Accept", "text/event-stream")
	if since != FromNow {
		req.Header.Set("Last-Event-ID", strconv.FormatInt(since, 10))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // reading has told what there is to tell
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNoContent:
		return errEnded
	default:
		return problemOf(resp)
	}
	if err := open(); err != nil {
		return err
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxEvent)
	var data []byte
	for lines.Scan() {
		mute.Reset(silence)
		field, value, _ := bytes.Cut(lines.Bytes(), []byte(":"))
		switch {
		case len(lines.Bytes()) > 0 && string(field) == "data":
			data = append(append(data, bytes.TrimPrefix(value, []byte(" "))...), '\n')
		case len(lines.Bytes()) == 0 && len(data) > 0:
			var e event.Event
			if err := json.Unmarshal(data, &e); err != nil {
				return fmt.Errorf("read event: %w", err)
			} else if err := each(e); err != nil {
				return err
			}
			data = data[:0]
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return fmt.Errorf("read %s: %w", path, io.ErrUnexpectedEOF)
}
