package dynamo

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// The JSON of UpdateItem (API reference, UpdateItem and AttributeValue), as far as records need it.

// appendUpdate writes a change as the body of a request.
func appendUpdate(b []byte, table string, at address, c *change) []byte {
	b = append(b, `{"TableName":`...)
	b = appendText(b, table)
	b = append(b, `,"Key":{"org":{"S":`...)
	b = appendText(b, at.org)
	b = append(b, `},"conn":{"S":`...)
	b = appendText(b, at.conn)
	b = append(b, `}},"UpdateExpression":`...)
	b = appendText(b, c.expression())
	b = append(b, `,"ConditionExpression":`...)
	b = appendText(b, c.condition)
	b = append(b, `,"ExpressionAttributeValues":`...)
	b = appendValues(b, c.values)
	return append(b, `,"ReturnValuesOnConditionCheckFailure":"ALL_OLD"}`...)
}

func appendValues(b []byte, values map[string]types.AttributeValue) []byte {
	b = append(b, '{')
	first := true
	for name, v := range values {
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendText(b, name)
		b = append(b, ':')
		b = appendValue(b, v)
	}
	return append(b, '}')
}

// appendValue writes one of the kinds of values that encode makes.
func appendValue(b []byte, v types.AttributeValue) []byte {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		b = append(b, `{"S":`...)
		b = appendText(b, v.Value)
	case *types.AttributeValueMemberN:
		b = append(b, `{"N":`...)
		b = appendText(b, v.Value)
	case *types.AttributeValueMemberB:
		b = append(b, `{"B":`...)
		b = appendBase64(b, v.Value)
	case *types.AttributeValueMemberBS:
		b = append(b, `{"BS":[`...)
		for i, e := range v.Value {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendBase64(b, e)
		}
		b = append(b, ']')
	case *types.AttributeValueMemberL:
		b = append(b, `{"L":[`...)
		for i, e := range v.Value {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, e)
		}
		b = append(b, ']')
	case *types.AttributeValueMemberM:
		b = append(b, `{"M":`...)
		b = appendValues(b, v.Value)
	}
	return append(b, '}')
}

func appendBase64(b, data []byte) []byte {
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, data)
	return append(b, '"')
}

// appendText writes a JSON string. Nearly all are printable ASCII without a quote or a backslash.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) //nolint:errchkjson // it never fails for a string
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// readRefusal reads the body of an answer with status 400. All but a failed condition is unclear.
func readRefusal(body []byte) (answer, item) {
	var refusal struct {
		Type string `json:"__type"`
		Item map[string]value
	}
	if err := json.Unmarshal(body, &refusal); err != nil {
		return unclear, nil
	}
	// The namespace before '#' may be missing: LocalStack leaves it out.
	if refusal.Type[strings.LastIndexByte(refusal.Type, '#')+1:] != "ConditionalCheckFailedException" {
		return unclear, nil
	}
	if refusal.Item == nil {
		return refused, nil
	}
	found := make(item, len(refusal.Item))
	for name, v := range refusal.Item {
		found[name] = v.attribute()
	}
	return refused, found
}

// value is an attribute value in an answer: one of its fields is set. Kinds that no record has are left out.
type value struct {
	S  *string
	N  *string
	B  *[]byte
	BS [][]byte
	L  []value
	M  map[string]value
}

// attribute returns the value as the SDK would; nil for a kind that no record has, which decode refuses.
func (v value) attribute() types.AttributeValue {
	switch {
	case v.S != nil:
		return str(*v.S)
	case v.N != nil:
		return &types.AttributeValueMemberN{Value: *v.N}
	case v.B != nil:
		return blob(*v.B)
	case v.BS != nil:
		return &types.AttributeValueMemberBS{Value: v.BS}
	case v.L != nil:
		l := &types.AttributeValueMemberL{Value: make([]types.AttributeValue, len(v.L))}
		for i, e := range v.L {
			l.Value[i] = e.attribute()
		}
		return l
	case v.M != nil:
		m := &types.AttributeValueMemberM{Value: make(map[string]types.AttributeValue, len(v.M))}
		for name, e := range v.M {
			m.Value[name] = e.attribute()
		}
		return m
	}
	return nil
}
