package nbd

// Numbers of the protocol, under the names of its specification.
const (
	magicInit     uint64 = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption   uint64 = 0x49484156454f5054 // "IHAVEOPT"
	magicOldstyle uint64 = 0x0000420281861253
	magicOptReply uint64 = 0x0003e889045565a9
	magicRequest  uint32 = 0x25609513
	magicSimple   uint32 = 0x67446698

	flagFixedNewstyle uint16 = 1 << 0
	flagNoZeroes      uint16 = 1 << 1

	optGo uint32 = 7

	repAck        uint32 = 1
	repInfo       uint32 = 3
	repError      uint32 = 1 << 31
	repErrPolicy  uint32 = repError | 2
	repErrUnknown uint32 = repError | 6

	infoExport uint16 = 0

	cmdRead       uint16 = 0
	cmdDisconnect uint16 = 2
)

// Bounds on what a server may make us hold.
const (
	maxName       = 4096     // bytes of an export name, from the specification
	maxOptReply   = 8 << 10  // bytes of one option reply: a string of 4096 and some
	maxOptReplies = 64       // replies to one option
	maxRead       = 32 << 20 // bytes of one request that every server takes
	infoExportLen = 12       // type, size, flags
	requestLen    = 28
	simpleLen     = 16
)
