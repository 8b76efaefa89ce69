package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"chunkstream/servertest"
)

// packaged is one way in which packaging/ starts the program.
type packaged struct {
	from   string
	args   []string
	env    []string // names
	port   string   // of the probes; "" if it names none
	probes []string
}

// container is what a Kubernetes manifest and a compose file say of one.
type container struct {
	Args        []string  `yaml:"args"`
	Command     []string  `yaml:"command"`
	Image       string    `yaml:"image"`
	Environment yaml.Node `yaml:"environment"`
	Ports       yaml.Node `yaml:"ports"`
	Readiness   probe     `yaml:"readinessProbe"`
	Liveness    probe     `yaml:"livenessProbe"`
	Startup     probe     `yaml:"startupProbe"`
}

type probe struct {
	HTTPGet struct {
		Path string `yaml:"path"`
		Port string `yaml:"port"`
	} `yaml:"httpGet"`
}

func packagedStarts(t *testing.T) (all []packaged) {
	t.Helper()
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join("../../packaging", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, name := range []string{"systemd/chunkstream.service", "systemd/chunkstream-worker.service"} {
		_, line, _ := strings.Cut(read(name), "ExecStart=/usr/local/bin/chunkstream ")
		line, _, _ = strings.Cut(line, "\n")
		all = append(all, packaged{from: name, args: strings.Fields(line)})
	}

	docker := packaged{from: "Dockerfile"}
	if m := regexp.MustCompile(`(?m)^CMD (\[.*\])$`).FindStringSubmatch(read("Dockerfile")); m != nil {
		if err := json.Unmarshal([]byte(m[1]), &docker.args); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range regexp.MustCompile(`(CHUNKSTREAM_\w+)=`).FindAllStringSubmatch(read("Dockerfile"), -1) {
		docker.env = append(docker.env, m[1])
	}
	all = append(all, docker)

	var compose struct {
		Services map[string]container `yaml:"services"`
	}
	if err := yaml.Unmarshal([]byte(read("compose.yaml")), &compose); err != nil {
		t.Fatal(err)
	}
	for name, c := range compose.Services {
		if c.Image == "chunkstream" {
			p := packaged{from: "compose.yaml: " + name, args: c.Command}
			var env map[string]string
			if err := c.Environment.Decode(&env); err != nil {
				t.Fatal(err)
			}
			for name := range env {
				p.env = append(p.env, name)
			}
			all = append(all, p)
		}
	}

	var secret []string
	for manifests := yaml.NewDecoder(strings.NewReader(read("kubernetes.yaml"))); ; {
		var m struct {
			Kind       string            `yaml:"kind"`
			StringData map[string]string `yaml:"stringData"`
			Spec       struct {
				Template struct {
					Spec struct {
						Containers []container `yaml:"containers"`
					} `yaml:"spec"`
				} `yaml:"template"`
			} `yaml:"spec"`
		}
		if err := manifests.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for name := range m.StringData {
			secret = append(secret, name)
		}
		for _, c := range m.Spec.Template.Spec.Containers {
			p := packaged{from: "kubernetes.yaml: " + c.Args[0], args: c.Args, env: secret}
			var ports []struct {
				Name string `yaml:"name"`
				Port string `yaml:"containerPort"`
			}
			if err := c.Ports.Decode(&ports); err != nil {
				t.Fatal(err)
			}
			for _, probe := range []probe{c.Readiness, c.Liveness, c.Startup} {
				if probe.HTTPGet.Path == "" {
					continue
				}
				p.probes = append(p.probes, probe.HTTPGet.Path)
				for _, port := range ports {
					if port.Name == probe.HTTPGet.Port {
						p.port = port.Port
					}
				}
			}
			all = append(all, p)
		}
	}
	return all
}

// TestPackaging: what the units, the image and the manifests start, set and probe is there.
func TestPackaging(t *testing.T) {
	t.Parallel()
	parser, err := kong.New(&commands{}, kong.Name("chunkstream"), kong.DefaultEnvars("CHUNKSTREAM"), kong.Exit(func(int) { t.Error("it would have ended") }))
	if err != nil {
		t.Fatal(err)
	}
	var envs []string
	var gather func(n *kong.Node)
	gather = func(n *kong.Node) {
		for _, f := range n.Flags {
			envs = append(envs, f.Envs...)
		}
		for _, c := range n.Children {
			gather(c)
		}
	}
	gather(parser.Model.Node)

	s := startServer(t, servertest.FreeAddress(t), t.TempDir(), nil).ready()
	defer s.stop()
	starts := packagedStarts(t)
	if len(starts) != 7 {
		t.Errorf("got %d starts, want 2 of systemd, 1 of Docker, 2 of compose and 2 of Kubernetes", len(starts))
	}
	for _, p := range starts {
		parsed, err := parser.Parse(p.args)
		if err != nil {
			t.Errorf("%s: %q: %v", p.from, p.args, err)
			continue
		}
		for _, name := range p.env {
			if !slices.Contains(envs, name) {
				t.Errorf("%s sets %s, which no flag reads", p.from, name)
			}
		}
		for _, flag := range parsed.Flags() {
			if listen := parsed.FlagValue(flag); flag.Name == "listen" && p.port != "" && listen != ":"+p.port {
				t.Errorf("%s listens on %v and is probed at %s", p.from, listen, p.port)
			}
		}
		if strings.HasPrefix(p.from, "kubernetes") && len(p.probes) < 2 {
			t.Errorf("%s has no two probes", p.from)
		}
		for _, path := range p.probes {
			resp, err := http.Get("http://" + s.address + path)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %s answers %d", p.from, path, resp.StatusCode)
			}
		}
	}
}
