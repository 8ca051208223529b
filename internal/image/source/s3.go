package source

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/droveway/droveway"
)

// S3 says where an object is and as whom it is read.
type S3 struct {
	Bucket, Key string
	Endpoint    string // URL; empty: AWS
	Region      string // empty: asked for on AWS, us-east-1 elsewhere
	Credentials *credentials.Credentials
}

// Valid is how long a link to an object can be used.
const Valid = 24 * time.Hour

// ParseS3 reads an address as s3://bucket/key.
func ParseS3(address string) (bucket, key string, err error) {
	rest, ok := strings.CutPrefix(address, "s3://")
	bucket, key, found := strings.Cut(rest, "/")
	if !ok || !found || bucket == "" || key == "" {
		return "", "", droveway.Errorf(droveway.Invalid, "source %q: an address as s3://bucket/key is needed", address)
	}
	return bucket, key, nil
}

// FromEnvironment fills in what is not given from the variables that the tools of
// AWS know, and the credentials from them or the user's credentials file.
func (s *S3) FromEnvironment(getenv func(string) string) {
	first := func(have string, names ...string) string {
		for _, n := range names {
			if have == "" {
				have = getenv(n)
			}
		}
		return have
	}
	s.Endpoint = first(s.Endpoint, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
	s.Region = first(s.Region, "AWS_REGION", "AWS_DEFAULT_REGION")
	if s.Region == "" && s.Endpoint != "" {
		s.Region = "us-east-1"
	}
	if id := getenv("AWS_ACCESS_KEY_ID"); id != "" {
		s.Credentials = credentials.NewStaticV4(id, getenv("AWS_SECRET_ACCESS_KEY"), getenv("AWS_SESSION_TOKEN"))
		return
	}
	s.Credentials = credentials.NewFileAWSCredentials(getenv("AWS_SHARED_CREDENTIALS_FILE"), getenv("AWS_PROFILE"))
}

// Link signs a link to the object with which anybody can read it, and it alone,
// for the time of Valid. So the credentials stay where they are. Without
// credentials it is the plain address of a public object.
func (s *S3) Link(ctx context.Context) (string, error) {
	host, secure := "s3.amazonaws.com", true
	if s.Endpoint != "" {
		u, err := url.Parse(s.Endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" {
			return "", droveway.Errorf(droveway.Invalid, "S3 endpoint %q: an address as https://host:port is needed", s.Endpoint)
		}
		host, secure = u.Host, u.Scheme == "https"
	}
	if have, err := s.Credentials.GetWithContext(nil); err != nil || have.AccessKeyID == "" {
		return s.public(host, secure), nil
	}
	c, err := minio.New(host, &minio.Options{Creds: s.Credentials, Secure: secure, Region: s.Region})
	if err != nil {
		return "", droveway.Errorf(droveway.Invalid, "S3 endpoint %s: %w", host, err)
	}
	u, err := c.PresignedGetObject(ctx, s.Bucket, s.Key, Valid, nil)
	if err != nil {
		return "", droveway.Errorf(s3Kind(err), "sign a link to s3://%s/%s: %w", s.Bucket, s.Key, err)
	}
	return u.String(), nil
}

func (s *S3) public(host string, secure bool) string {
	u := url.URL{Scheme: "http", Host: host, Path: "/" + s.Bucket + "/" + s.Key}
	if secure {
		u.Scheme = "https"
	}
	return u.String()
}

// s3Kind gives an answer of S3 its kind.
func s3Kind(err error) droveway.Kind {
	switch minio.ToErrorResponse(err).Code {
	case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch":
		return droveway.Permission
	case "NoSuchBucket", "NoSuchKey":
		return droveway.NotFound
	case "InvalidBucketName", "InvalidArgument":
		return droveway.Invalid
	}
	return droveway.Unavailable
}
