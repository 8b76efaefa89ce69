package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"chunkstream/client"
)

// askerOf, in the environment, makes this program one that asks a process for small things, one after the other, until its
// standard input ends, and writes down how long each took. It is a process of its own because one that has a thousand other
// connections to see to would measure itself.
const askerOf = "CHAOS_ASKER_OF"

// ask asks a process at address for an operation and submits a small text, in turns: "address operation name".
func ask(ctx context.Context, what string, in io.Reader, out io.Writer) error {
	address, rest, _ := strings.Cut(what, " ")
	operation, name, _ := strings.Cut(rest, " ")
	c, err := client.New("http://"+address, client.Options{APIKey: chaosKey})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, in)
		stop()
	}()
	for i := 0; pause(ctx, 20*time.Millisecond); i++ {
		began := time.Now()
		once, cancel := context.WithTimeout(ctx, 10*time.Second)
		if i%2 == 0 {
			_, err = c.Operation(once, operation, 0)
		} else {
			_, err = c.Submit(once, client.Submission{Text: strings.NewReader(fmt.Sprint(name, " asks ", i))})
		}
		cancel()
		if ctx.Err() != nil {
			break
		}
		said := ""
		if err != nil {
			said = strings.ReplaceAll(err.Error(), "\n", " ")
		}
		if _, err := fmt.Fprintln(out, began.UnixNano(), int64(time.Since(began)), said); err != nil {
			return err
		}
	}
	return nil
}

// probe is one request.
type probe struct {
	web  *process
	at   time.Time
	took time.Duration
	err  string
}

// asker has a process of its own ask p until stop is called, which gives what came of it.
func (m *crowd) asker(ctx context.Context, p *process) (stop func(), err error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s", askerOf, p.address, m.ops[0].ID, p.name))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	read := make(chan []probe)
	go func() {
		var all []probe
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var at, took int64
			if _, err := fmt.Sscan(lines.Text(), &at, &took); err != nil {
				m.violate("crowd: %q: %v", lines.Text(), err)
				break
			}
			said := strings.SplitN(lines.Text(), " ", 3)[2]
			all = append(all, probe{p, time.Unix(0, at), time.Duration(took), said})
		}
		read <- all
	}()
	return func() {
		_ = in.Close() // it may have ended by itself, which is seen below
		m.probes = append(m.probes, <-read...)
		if err := cmd.Wait(); err != nil && ctx.Err() == nil {
			m.violate("crowd: who asks %s: %v", p.name, err)
		}
	}, nil
}
