package natstest

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/minio/highwayhash"
)

// Stored is a message as a stream keeps it on disk.
type Stored struct {
	Sequence uint64
	Nanos    int64 // Unix time at which it entered the stream
	Subject  string
	Header   []byte // with its length in front; nil: none
	Body     []byte
}

// Tamper changes the messages of a stream where they lie, in the files of a server that is not running, with checksums
// that the server believes. It is what somebody can do who can write the server's disk. Change gets the messages in order,
// and returns those that shall be there.
func Tamper(storeDir, stream string, change func([]Stored) []Stored) error {
	dir, err := messagesOf(storeDir, stream)
	if err != nil {
		return err
	}
	blocks, err := blocksOf(dir)
	if err != nil {
		return err
	}
	var messages []Stored
	for _, name := range blocks {
		block, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if messages, err = readBlock(messages, block); err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", stream, 1)) // filestore.go, hashKeyForBlock
	var block []byte
	for _, m := range change(messages) {
		if block, err = appendMessage(block, key[:], m); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "1.blk"), block, 0o600); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, "index.db")); err != nil && !os.IsNotExist(err) { // made anew of the messages
		return err
	}
	return nil
}

// messagesOf finds the folder with a stream's messages.
func messagesOf(storeDir, stream string) (found string, err error) {
	err = filepath.WalkDir(storeDir, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, filepath.Join("streams", stream, "msgs")) {
			found = path
		}
		return err
	})
	if err == nil && found == "" {
		err = fmt.Errorf("no stream %s in %s", stream, storeDir)
	}
	return found, err
}

// blocksOf lists the files with messages, in order.
func blocksOf(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	numbers := map[string]int{}
	var blocks []string
	for _, e := range entries {
		if number, isBlock := strings.CutSuffix(e.Name(), ".blk"); isBlock {
			if numbers[e.Name()], err = strconv.Atoi(number); err != nil {
				return nil, err
			}
			blocks = append(blocks, e.Name())
		}
	}
	slices.SortFunc(blocks, func(a, b string) int { return numbers[a] - numbers[b] })
	return blocks, nil
}

// A message in a block, numbers in little-endian (nats-server 2.15, filestore.go, msgFromBufEx):
//
//	length of all (4; its highest bit: has headers) ‖ sequence (8) ‖ Unix nanoseconds (8) ‖ length of the subject (2) ‖
//	subject ‖ with headers: their length (4) ‖ headers ‖ body ‖ HighwayHash-64 (8) over all but the lengths
const (
	headSize   = 22
	sumSize    = 8
	headersBit = 1 << 31
)

func readBlock(messages []Stored, block []byte) ([]Stored, error) {
	le := binary.LittleEndian
	for len(block) > 0 {
		if len(block) < headSize+sumSize {
			return nil, fmt.Errorf("a message of %d bytes", len(block))
		}
		length, subject := le.Uint32(block), int(le.Uint16(block[20:]))
		hasHeaders := length&headersBit != 0
		length &^= headersBit
		m := Stored{
			Sequence: le.Uint64(block[4:]), Nanos: int64(le.Uint64(block[12:])), Subject: string(block[headSize : headSize+subject]),
		}
		rest := block[headSize+subject : length-sumSize]
		if hasHeaders {
			n := 4 + int(le.Uint32(rest))
			m.Header, rest = slices.Clone(rest[:n]), rest[n:]
		}
		m.Body = slices.Clone(rest)
		messages, block = append(messages, m), block[length:]
	}
	return messages, nil
}

func appendMessage(block, key []byte, m Stored) ([]byte, error) {
	le := binary.LittleEndian
	length := uint32(headSize + len(m.Subject) + len(m.Header) + len(m.Body) + sumSize)
	if m.Header != nil {
		length |= headersBit
	}
	sum, err := highwayhash.New64(key)
	if err != nil {
		return nil, err
	}
	start := len(block)
	block = le.AppendUint32(block, length)
	block = le.AppendUint64(block, m.Sequence)
	block = le.AppendUint64(block, uint64(m.Nanos))
	block = le.AppendUint16(block, uint16(len(m.Subject)))
	block = append(block, m.Subject...)
	_, _ = sum.Write(block[start+4 : start+20]) // never fails, as no hash does
	_, _ = sum.Write([]byte(m.Subject))
	if m.Header != nil {
		_, _ = sum.Write(m.Header[4:])
	}
	_, _ = sum.Write(m.Body)
	return append(append(append(block, m.Header...), m.Body...), sum.Sum(nil)...), nil
}
