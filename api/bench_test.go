package api_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"chunkstream/api"
	"chunkstream/auth"
	"chunkstream/event"
	"chunkstream/live"
	"chunkstream/store"
)

// BenchmarkSubmit is a 4 KB raw submission, from the request to the durable answer, without network and without a
// worker; 32 clients share each processor, as the store commits several callers' work together.
func BenchmarkSubmit(b *testing.B) {
	st, err := store.Open(b.Context(), store.Config{Path: filepath.Join(b.TempDir(), "bench.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	h, err := api.New(api.Config{
		Store: st, Hub: live.NewHub(api.LiveSource(st), live.Config{}), Publish: func(event.Owned) {}, Wake: func(store.Lane, string) {},
		Gate: auth.Open(), Loopback: true, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
		Ready: func(context.Context) api.Readiness { return api.Readiness{OK: true} },
	})
	if err != nil {
		b.Fatal(err)
	}
	text := []byte(strings.Repeat("The quick brown fox jumps over the lazy dog. ", 91))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			r := httptest.NewRequest("POST", "http://localhost/v1/operations?chunk_size=500",
				io.NopCloser(bytes.NewReader(text)))
			r.ContentLength = int64(len(text))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != http.StatusAccepted {
				b.Errorf("got %d %s", w.Code, w.Body)
			}
		}
	})
}
