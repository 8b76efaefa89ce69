package webhook_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"chunkstream/secret"
	"chunkstream/webhook"
)

// forgeries are addresses that lead, or that some program believes to lead, to the inside of a network.
var forgeries = []string{
	// Loopback in all spellings.
	"https://127.0.0.1/", "https://127.1/", "https://127.0.1/", "https://127.255.255.254:8443/", "https://2130706433/", "https://0x7f000001/", "https://0x7f.0.0.1/",
	"https://0x7F.1/", "https://017700000001/", "https://0177.0.0.1/", "https://127.0.0.1./", "https://0/", "https://0.0.0.0/", "https://00.0x0.0.0/", "https://localhost/",
	"https://LOCALHOST/", "https://localhost./", "https://a.localhost/", "https://127.0.0.1.:443/", "https://127.000.000.001/", "https://127.0.0.0x1/",
	"https://[::1]/", "https://[::]/", "https://[0:0:0:0:0:0:0:1]/", "https://[::1%25eth0]/", "https://[fe80::1%25lo]/",
	// IPv4 in IPv6.
	"https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/", "https://[::127.0.0.1]/", "https://[::ffff:0:127.0.0.1]/", "https://[::ffff:169.254.169.254]/",
	"https://[64:ff9b::127.0.0.1]/", "https://[64:ff9b::a9fe:a9fe]/", "https://[64:ff9b:1::a00:1]/", "https://[2002:7f00:1::]/", "https://[2002:a9fe:a9fe::1]/",
	"https://[2001:0:7f00:1::]/", "https://[2001:db8::1]/", "https://[2001:10::1]/",
	// Private, link-local and other special networks.
	"https://10.0.0.1/", "https://10.255.255.255/", "https://172.16.0.1/", "https://172.31.255.255/", "https://192.168.1.1/", "https://100.64.0.1/", "https://100.127.255.255/",
	"https://169.254.0.1/", "https://198.18.0.1/", "https://192.0.2.1/", "https://198.51.100.7/", "https://203.0.113.9/", "https://224.0.0.1/", "https://239.255.255.250/",
	"https://240.0.0.1/", "https://255.255.255.255/", "https://192.88.99.1/", "https://192.0.0.192/", "https://[fc00::1]/", "https://[fd12:3456::1]/", "https://[fe80::1]/",
	"https://[fec0::1]/", "https://[ff02::1]/", "https://[100::1]/", "https://[3fff::1]/", "https://[5f00::1]/", "https://[4000::1]/",
	// Metadata of clouds.
	"https://169.254.169.254/latest/meta-data/", "https://0xa9fea9fe/", "https://2852039166/", "https://0251.0376.0251.0376/", "https://169.254.43518/", "https://[fd00:ec2::254]/",
	"https://[fd20:ce::254]/", "https://100.100.100.200/", "https://168.63.129.16/", "https://[::ffff:a9fe:a9fe]/",
	// Other schemes, and what is no address of a web server.
	"http://example.com/", "HTTP://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "dict://example.com:11211/", "unix:///run/x.sock", "data:,x",
	"javascript:alert(1)", "//example.com/", "example.com", "https:example.com", "https:///", "https://", "", "https://:443/", "https://[/", "https://[::1/", "https://a b/",
	// Two readings of one address.
	"https://user@10.0.0.1/", "https://example.com@127.0.0.1/", "https://127.0.0.1@example.com/", "https://example.com:443@127.0.0.1/", "https://user:pass@example.com/",
	`https://example.com\@127.0.0.1/`, `https:\\127.0.0.1\`, "https://example.com#@127.0.0.1/", "https://example.com/#", "https://127.0.0.1%2f@example.com/", "https://%31%32%37.0.0.1/",
	"https://①②⑦.0.0.1/", "https://127。0。0。1/", "https://example.com\t/", "https://exa\nmple.com/", "https://example.com\r\nX: y/", "https://example..com/", "https://-a.example/",
	"https://example.com:/", "https://exam_ple!.com/", "https://" + strings.Repeat("a", 64) + ".example/", "https://example.com/" + strings.Repeat("a", 2048),
	// Ports of other services.
	"https://example.com:22/", "https://example.com:25/", "https://example.com:80/", "https://example.com:1/", "https://example.com:0/", "https://example.com:65536/",
	"https://example.com:-443/", "https://example.com:443x/",
}

// TestForgedAddressesAreRefused, and nothing is ever connected to.
func TestForgedAddressesAreRefused(t *testing.T) {
	for _, forged := range forgeries {
		var refused *webhook.RefusedError
		if err := (webhook.Policy{}).CheckURL(forged); !errors.As(err, &refused) || refused.Problem == "" {
			t.Errorf("%q: got %v, want a refusal", forged, err)
		}
	}
	t.Logf("%d forged addresses are refused", len(forgeries))
	for _, fine := range []string{"https://example.com", "https://example.com/hook?x=%20", "https://EXAMPLE.com.:443/", "https://example.com:8443/", "https://xn--bcher-kva.example/",
		"https://8.8.8.8/", "https://[2606:4700::1111]/", "https://a-b_c.example/", "https://1a.example/"} {
		if err := (webhook.Policy{}).CheckURL(fine); err != nil {
			t.Errorf("%q: got %v", fine, err)
		}
	}
	open := webhook.Policy{HTTP: true, Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("127.0.0.0/8")}}
	for address, allowed := range map[string]bool{"http://example.com/": true, "http://example.com:80/": true, "http://10.1.2.3/": true, "https://[::ffff:10.1.2.3]/": true,
		"http://localhost:8080/": true, "http://10.2.0.1/": false, "http://example.com:443/": false, "ftp://10.1.2.3/": false, "http://u@10.1.2.3/": false, "http://[::1]/": false} {
		if err := open.CheckURL(address); (err == nil) != allowed {
			t.Errorf("%q with networks: got %v, want allowed %v", address, err, allowed)
		}
	}
}

// TestNamesThatLeadInside: whatever a name leads to is looked at before anything is connected to, all of it, and the
// connection goes to what was looked at.
func TestNamesThatLeadInside(t *testing.T) {
	special := []string{"127.0.0.1", "10.0.0.1", "172.16.5.4", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "168.63.129.16", "::1", "::",
		"::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:a00:1::1", "2001:db8::1", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "ff02::1", "fec0::1"}
	dialled := ""
	for _, inside := range special {
		for _, beside := range [][]string{{inside}, {"93.184.216.34", inside}, {inside, "93.184.216.34"}, {"2606:4700::1111", "93.184.216.34", inside}} {
			client := webhook.Client(webhook.Policy{}, beside, func(_ context.Context, _, address string) (net.Conn, error) {
				dialled = address
				return nil, errors.New("no network")
			})
			r, err := http.NewRequestWithContext(t.Context(), "POST", "https://inside.example/", nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.Do(r)
			var refused *webhook.RefusedError
			if !errors.As(err, &refused) || dialled != "" {
				t.Errorf("%v: got %v and a connection to %q", beside, err, dialled)
			}
		}
	}
	// Each look-up gives another address: the second never counts.
	client := webhook.Client(webhook.Policy{}, []string{"93.184.216.34"}, func(_ context.Context, _, address string) (net.Conn, error) {
		dialled = address
		return nil, errors.New("no network")
	})
	r, err := http.NewRequestWithContext(t.Context(), "POST", "https://rebinding.example/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Do(r); err == nil || dialled != "93.184.216.34:443" {
		t.Errorf("got %v and a connection to %q", err, dialled)
	}
}

func TestSecrets(t *testing.T) {
	if a, b := webhook.NewSecret().Reveal(), webhook.NewSecret().Reveal(); a == b || !strings.HasPrefix(a, "whsec_") || len(a) != 50 {
		t.Errorf("got %s and %s", a, b)
	}
	// The example of Standard Webhooks' libraries.
	at, body := webhook.At(1614265330), []byte(`{"test": 2432232314}`)
	got, err := webhook.Sign([]secret.Text{secret.New("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")}, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, body)
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	for _, bad := range []string{"", "whsec_", "whsec_!", "whsec_c2hvcnQ="} {
		if _, err := webhook.Sign([]secret.Text{secret.New(bad)}, "id", at, body); err == nil || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}

// TestBackoff: the pauses grow, and together reach beyond the day for which deliveries are tried.
func TestBackoff(t *testing.T) { webhook.CheckBackoff(t) }
