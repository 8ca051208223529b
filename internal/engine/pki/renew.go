package pki

import (
	"time"

	"github.com/droveway/droveway"
)

// Renewal says when a certificate is to be renewed, with a third of its life to go,
// and when it ends. What cannot be read is Invalid.
func Renewal(certPEM []byte) (due, ends time.Time, err error) {
	cert, err := parseCertificate(certPEM)
	if err != nil {
		return due, ends, droveway.Errorf(droveway.Invalid, "certificate: %w", err)
	}
	life := cert.NotAfter.Sub(cert.NotBefore) - clockSkew
	return cert.NotAfter.Add(-life / 3), cert.NotAfter, nil
}
