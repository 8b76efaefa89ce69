package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"hash/crc32"
	"strings"
)

// A key is a prefix, keyBytes random bytes and the CRC-32 (IEEE 802.3) of all that, in base32 of lower-case letters. The
// checksum tells a typo from a revoked key without asking the database, and lets secret scanners find keys in texts by
// KeyPattern without false alarms.
const (
	keyPrefix    = "cs_"
	ticketPrefix = "ct_"
	keyBytes     = 25 // 200 bits, where 160 are the least that nobody can guess
	keyChars     = 40
	sumChars     = 7
)

// KeyPattern is a regular expression (RE2) that matches every API key and every ticket.
const KeyPattern = `\bc[st]_[a-z2-7]{47}\b`

var letters = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewKey makes a key. It is to be shown once; what is kept is its Digest and its Hint.
func NewKey() string { return newSecret(keyPrefix) }

// NewTicket makes what stands for a ticket.
func NewTicket() string { return newSecret(ticketPrefix) }

func newSecret(prefix string) string {
	var b [keyBytes]byte
	rand.Read(b[:]) //nolint:errcheck // it never fails: crypto/rand, Read
	body := prefix + letters.EncodeToString(b[:])
	return body + checksum(body)
}

func checksum(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	return letters.EncodeToString([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
}

// wellFormed reports whether secret has the prefix, the length and the checksum of one.
func wellFormed(secret, prefix string) bool {
	if len(secret) != len(prefix)+keyChars+sumChars || !strings.HasPrefix(secret, prefix) {
		return false
	}
	body := secret[:len(prefix)+keyChars]
	return checksum(body) == secret[len(body):]
}

// Digest is what is kept of a key or a ticket: its SHA-256 in lower-case hex. A key has 200 random bits, so nobody finds
// it by trying, and a slow hash would only slow the service down.
func Digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Hint is how a key begins: enough to tell keys apart, and 180 bits short of one.
func Hint(key string) string { return key[:len(keyPrefix)+4] }
