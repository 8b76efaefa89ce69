package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"chunkstream/servertest"
)

func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "10.1.2.3/8": "10.0.0.0/8", "127.0.0.1": "127.0.0.1/32", "::1": "::1/128", " fd00::/8 ": "fd00::/8",
		"::ffff:10.0.0.1": "10.0.0.1/32",
		"":                "", "x": "", "10.0.0.0/33": "", "0.0.0.0/0": "", "::/0": "", "10.0.0.0-10.0.0.9": "", "fe80::1%eth0": "", "10.0.0.1:80": "", "proxy.example": "",
	} {
		got, err := proxyFlags{[]string{text}}.prefixes()
		if (err == nil) != (want != "") || err == nil && (len(got) != 1 || got[0].String() != want) {
			t.Errorf("%q: got %v, %v; want %q", text, got, err, want)
		}
	}
}

// TestProfiler: the profiler is where it was asked for and nowhere else, without the command line, and not for a page
// that a name was pointed at loopback for.
func TestProfiler(t *testing.T) {
	t.Parallel()
	public, private := servertest.FreeAddress(t), servertest.FreeAddress(t)
	startServer(t, public, t.TempDir(), nil, "--admin-listen", private).ready()
	get := func(address, path, host string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		if res.Header.Get("X-Content-Type-Options") != "nosniff" || res.Header.Get("Cache-Control") == "" {
			t.Errorf("%s%s: headers %v", address, path, res.Header)
		}
		return res.StatusCode, string(b)
	}
	for path, want := range map[string]int{
		"/debug/pprof/": 200, "/debug/pprof/goroutine?debug=1": 200, "/debug/pprof/heap": 200, "/debug/pprof/cmdline": 404, "/debug/pprof/none": 404,
		"/": 404, "/debug/vars": 404, "/v1/operations": 404, "/metrics": 404,
	} {
		if got, body := get(private, path, ""); got != want {
			t.Errorf("private %s: got %d %.100q, want %d", path, got, body, want)
		}
		if strings.HasPrefix(path, "/debug") {
			if got, _ := get(public, path, ""); got != 404 {
				t.Errorf("public %s: got %d", path, got)
			}
		}
		if got, _ := get(private, path, "evil.example"); got != http.StatusMisdirectedRequest {
			t.Errorf("private %s as another host: got %d", path, got)
		}
	}
	// net/http/pprof puts itself into the mux that nobody serves.
	w := httptest.NewRecorder()
	http.DefaultServeMux.ServeHTTP(w, httptest.NewRequest("GET", "/debug/pprof/", nil))
	if w.Code != 200 {
		t.Errorf("the default mux answers %d: is this test still of use?", w.Code)
	}
}

// TestFlagsAreSecret: every setting that is or may have a password is of the type that does not print.
func TestFlagsAreSecret(t *testing.T) {
	t.Parallel()
	parser, err := kong.New(&commands{}, kong.Name("chunkstream"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, node := range parser.Model.Leaves(false) {
		for _, flag := range node.Flags {
			kind := fmt.Sprint(flag.Target.Type())
			for _, word := range []string{"database", "redis", "broker", "secret", "api-key", "password", "token"} {
				if strings.Contains(flag.Name, word) && kind != "bool" && !slices.Contains([]string{"api-key-file", "tokenizer"}, flag.Name) {
					found = append(found, flag.Name)
					if kind != "secret.Text" {
						t.Errorf("%s --%s is a %s", node.Name, flag.Name, kind)
					}
					break
				}
			}
		}
	}
	slices.Sort(found)
	if got := strings.Join(slices.Compact(found), " "); got != "api-key celery-broker database jwt-secret redis" {
		t.Errorf("found %s", got)
	}
}

func TestMostConnections(t *testing.T) {
	t.Parallel()
	for files, want := range map[uint64]int{0: 1, 64: 32, 256: 128, 320: 160, 512: 352, 1024: 819, 65536: 52428, ^uint64(0): 838860} {
		if got := mostConnections(files); got != want {
			t.Errorf("of %d files %d are for connections, want %d", files, got, want)
		}
	}
}
