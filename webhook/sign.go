package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"chunkstream/secret"
)

// secretPrefix begins every secret (Standard Webhooks 1.0, "Signature scheme").
const secretPrefix = "whsec_"

// NewSecret makes a secret: whsec_ and 256 random bits in base64.
func NewSecret() secret.Text {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // it never fails
	return secret.New(secretPrefix + base64.StdEncoding.EncodeToString(b))
}

// Sign gives the header webhook-signature of a message (Standard Webhooks 1.0): for each secret "v1," and the HMAC-SHA256 of
// id.timestamp.body under it, apart by spaces. The error is one of a secret that NewSecret did not make.
func Sign(secrets []secret.Text, id string, at time.Time, body []byte) (string, error) {
	var all []string
	for _, one := range secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(one.Reveal(), secretPrefix))
		if err != nil || len(key) < 24 {
			return "", fmt.Errorf("webhook: a secret is not what it was made as") // which does not show it
		}
		h := hmac.New(sha256.New, key)
		h.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
		h.Write(body)
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(h.Sum(nil)))
	}
	return strings.Join(all, " "), nil
}
