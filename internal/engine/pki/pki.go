// Package pki is the certificate authority of a fleet: one self-signed root that
// issues the certificates of the server and of the hosts, so that both ends of
// every TLS connection between them can be told from strangers (X.509 as
// profiled by RFC 5280).
//
// It may touch its own directory and nothing else. The root's key never leaves
// that directory: a host makes its own key and sends a certificate request.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"os"
	"path/filepath"
	"time"

	"github.com/droveway/droveway"
)

const (
	keyFile  = "ca-key.pem"
	certFile = "ca-cert.pem"

	// Of the root, and of what Issue makes: whoever gets at the keys of the server
	// has that of the root beside them.
	life = 10 * 365 * 24 * time.Hour

	// Of what is signed for others, which renew it in time.
	signedLife = 365 * 24 * time.Hour

	// Clocks of hosts differ; a certificate is valid a little before its time.
	clockSkew = time.Hour
)

// Authority issues certificates. Its methods may be called at the same time.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
	life time.Duration // of what is signed
}

// Open opens the authority kept in dir, and makes it (ECDSA P-256, valid ten
// years) the first time. A kill in between leaves nothing that a later Open
// could not complete.
func Open(dir string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, droveway.Errorf(droveway.Internal, "make the directory of the certificate authority: %w", err)
	}
	key, err := openKey(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	text, err := openRoot(filepath.Join(dir, certFile), key)
	if err != nil {
		return nil, err
	}
	cert, err := parseCertificate(text)
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "certificate authority %s: %w", filepath.Join(dir, certFile), err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, droveway.Errorf(droveway.Internal, "certificate authority %s: the certificate is not that of the key beside it: restore both from one backup", dir)
	}
	return &Authority{cert: cert, key: key, pem: text, life: signedLife}, nil
}

// Lasting gives the same authority, but what it signs for others is valid for
// another time than a year.
func (a *Authority) Lasting(life time.Duration) *Authority {
	b := *a
	b.life = life
	return &b
}

// Ends is when the authority ends, and with it all that it has issued.
func (a *Authority) Ends() time.Time { return a.cert.NotAfter }

// CA gives the root certificate in PEM.
func (a *Authority) CA() []byte { return append([]byte(nil), a.pem...) }

// openKey reads the root's key or makes it. The key is written before the
// certificate: a key alone can be completed, a certificate alone could not.
func openKey(path string) (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return makeKey(path)
	}
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "read the key of the certificate authority: %w", err)
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "key of the certificate authority %s: %w", path, err)
	}
	return key, nil
}

func makeKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "make a key: %w", err)
	}
	text, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return key, WriteFile(path, text, 0o600)
}

func openRoot(path string, key *ecdsa.PrivateKey) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err == nil {
		return text, nil
	}
	if !os.IsNotExist(err) {
		return nil, droveway.Errorf(droveway.Internal, "read the certificate of the authority: %w", err)
	}
	text, err = makeRoot(key)
	if err != nil {
		return nil, err
	}
	return text, WriteFile(path, text, 0o644)
}

func makeRoot(key *ecdsa.PrivateKey) ([]byte, error) {
	now := time.Now()
	root := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "Droveway"},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(life),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, &key.PublicKey, key)
	if err != nil {
		return nil, droveway.Errorf(droveway.Internal, "make the certificate of the authority: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: certBlock, Bytes: der}), nil
}
