package store

// For the tests of names.
var (
	EncodeName = encodeName
	DecodeName = decodeName
)
