package nbd

// Numbers of the protocol, under the names of its specification.
const (
	magicInit     uint64 = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption   uint64 = 0x49484156454f5054 // "IHAVEOPT"
	magicOldstyle uint64 = 0x0000420281861253
	magicOptReply uint64 = 0x0003e889045565a9
	magicRequest  uint32 = 0x25609513
	magicSimple   uint32 = 0x67446698
	magicChunk    uint32 = 0x668e33ef

	flagFixedNewstyle uint16 = 1 << 0
	flagNoZeroes      uint16 = 1 << 1

	optExportName uint32 = 1
	optAbort      uint32 = 2
	optStartTLS   uint32 = 5
	optInfo       uint32 = 6
	optGo         uint32 = 7
	optStructured uint32 = 8

	repAck         uint32 = 1
	repInfo        uint32 = 3
	repError       uint32 = 1 << 31
	repErrUnsup    uint32 = repError | 1
	repErrPolicy   uint32 = repError | 2
	repErrInvalid  uint32 = repError | 3
	repErrNeedsTLS uint32 = repError | 5
	repErrUnknown  uint32 = repError | 6
	repErrTooBig   uint32 = repError | 9

	infoExport    uint16 = 0
	infoBlockSize uint16 = 3

	exportHasFlags  uint16 = 1 << 0
	exportReadOnly  uint16 = 1 << 1
	exportSendFlush uint16 = 1 << 2
	exportSendDF    uint16 = 1 << 7
	exportMulti     uint16 = 1 << 8

	cmdRead       uint16 = 0
	cmdWrite      uint16 = 1
	cmdDisconnect uint16 = 2
	cmdFlush      uint16 = 3
	cmdTrim       uint16 = 4
	cmdZeroes     uint16 = 6

	chunkDone  uint16 = 1 << 0
	chunkData  uint16 = 1
	chunkHole  uint16 = 2
	chunkError uint16 = 1<<15 | 1

	errPerm  uint32 = 1
	errIO    uint32 = 5
	errInval uint32 = 22
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
	chunkLen      = 20

	maxOption  = 8 << 10  // bytes of one option of a client
	maxOptions = 64       // of one client
	preferred  = 64 << 10 // bytes that a client had best ask for at least
	zeroesLen  = 124      // after an export's flags, for a client that wants them
)
