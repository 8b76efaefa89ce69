package client_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chunkstream/client"
)

// answers is a server that gives one answer after the other: "event n", after which the stream breaks, "none" for nobody there,
// or a status with what Retry-After says.
type answers struct {
	plays []string
	at    []time.Time // when each was asked for
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	play := a.plays[len(a.at)]
	a.at = append(a.at, time.Now())
	resp := &http.Response{StatusCode: 200, Header: http.Header{}, Request: r, Body: http.NoBody}
	var n int
	switch {
	case play == "none":
		return nil, errors.New("nobody there")
	case strings.HasPrefix(play, "event"):
		_, _ = fmt.Sscanf(play, "event %d", &n)
		kind := "batch"
		if len(a.at) == len(a.plays) {
			kind = "completed"
		}
		resp.Body = io.NopCloser(strings.NewReader(fmt.Sprintf("data: {\"seq\":%d,\"type\":%q}\n\n", n, kind)))
	default:
		_, _ = fmt.Sscanf(play, "%d %d", &resp.StatusCode, &n)
		if n > 0 {
			resp.Header.Set("Retry-After", fmt.Sprint(n))
		}
	}
	return resp, nil
}

// Those who were cut off together come back spread over all of a bound, which doubles with every failure from one second to 30,
// and not before a Retry-After says. What was heard begins it anew.
func TestReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plays := []string{"event 1", "none", "503", "503 4", "429 7", "none", "none", "none", "503 3600", "event 2", "none", "event 3"}
		bound := []int{1, 2, 4, 8, 16, 30, 30, 30, 30, 1, 2}
		asked := []int{0, 0, 0, 4, 7, 0, 0, 0, 60, 0, 0} // of a day's wait no more than a minute is taken
		const crowd = 200
		early, late := make([]int, len(bound)), make([]int, len(bound))
		done := make(chan *answers, crowd)
		for range crowd {
			go func() {
				a := &answers{plays: plays}
				defer func() { done <- a }()
				c, err := client.New("http://nowhere.test", client.Options{HTTP: &http.Client{Transport: a}})
				if err != nil {
					t.Error(err)
					return
				}
				if got := strings.Join(heard(c.WatchSSE(t.Context(), "op_1", 0), -1), " "); got != "1 2 3" {
					t.Errorf("heard %q", got)
				}
			}()
		}
		for range crowd {
			a := <-done
			if len(a.at) != len(plays) {
				t.Errorf("%d requests, want %d", len(a.at), len(plays))
				continue
			}
			for i := range bound {
				most, least := time.Duration(bound[i])*time.Second, time.Duration(asked[i])*time.Second
				wait := a.at[i+1].Sub(a.at[i]) - least
				if wait < 0 || wait >= most {
					t.Errorf("after %q, try %d: waited %v, want %v and up to %v", plays[i], i, wait+least, least, most)
				}
				if wait < most/5 {
					early[i]++
				} else if wait > most*4/5 {
					late[i]++
				}
			}
		}
		for i := range bound {
			if early[i] < crowd/20 || late[i] < crowd/20 {
				t.Errorf("try %d: of %d, %d came back in the first fifth of the time, %d in the last", i, crowd, early[i], late[i])
			}
		}
	})
}
