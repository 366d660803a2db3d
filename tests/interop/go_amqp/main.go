// What programs on go-amqp do with a broker. Prints "NAME ok" or "NAME failed: ..." for each scenario.
//
//	main amqp://HOST:PORT
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/Azure/go-amqp"
)

var (
	ctx     context.Context
	session *amqp.Session
)

func main() {
	var cancel context.CancelFunc
	ctx, cancel = context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	connection := connect()
	scenarios := []struct {
		name string
		run  func() error
	}{
		{"queue", queue},
		{"selectors", selectors},
		{"topics", topics},
		{"durable", durable},
		{"dynamic", dynamic},
		{"second", second},
		{"large", large},
		{"streams", streams},
		{"refused", refused},
	}
	for _, scenario := range scenarios {
		if err := scenario.run(); err != nil {
			fmt.Println(scenario.name, "failed:", strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Println(scenario.name, "ok")
		}
	}
	check(connection.Close())
}

func check(err error) {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

func connect() *amqp.Conn {
	connection, err := amqp.Dial(ctx, os.Args[1], &amqp.ConnOptions{ContainerID: "go-amqp"})
	check(err)
	session, err = connection.NewSession(ctx, nil)
	check(err)
	return connection
}

func send(address string, texts ...string) error {
	sender, err := session.NewSender(ctx, address, nil)
	if err != nil {
		return err
	}
	for number, text := range texts {
		message := amqp.NewMessage([]byte(text))
		message.ApplicationProperties = map[string]any{"n": int64(number)}
		if err := sender.Send(ctx, message, nil); err != nil {
			return err
		}
	}
	return sender.Close(ctx)
}

func receive(address string, options *amqp.ReceiverOptions, texts ...string) (*amqp.Receiver, error) {
	receiver, err := session.NewReceiver(ctx, address, options)
	if err != nil {
		return nil, err
	}
	return receiver, expect(receiver, texts...)
}

func expect(receiver *amqp.Receiver, texts ...string) error {
	for _, text := range texts {
		message, err := receiver.Receive(ctx, nil)
		if err != nil {
			return err
		}
		if found := string(message.GetData()); found != text {
			return fmt.Errorf("expected %q, found %q", text, found)
		}
		if err := receiver.AcceptMessage(ctx, message); err != nil {
			return err
		}
	}
	return nil
}

func queue() error {
	if err := send("go.queue", "a", "b", "c"); err != nil {
		return err
	}
	receiver, err := receive("go.queue", &amqp.ReceiverOptions{Credit: 10}, "a", "b", "c")
	if err != nil {
		return err
	}
	return receiver.Close(ctx)
}

func selectors() error {
	if err := send("go.selectors", "0", "1", "2", "3"); err != nil {
		return err
	}
	filters := []amqp.LinkFilter{amqp.NewSelectorFilter("n > 1")}
	_, err := receive("go.selectors", &amqp.ReceiverOptions{Filters: filters, Credit: 10}, "2", "3")
	return err
}

func topics() error {
	options := &amqp.ReceiverOptions{SourceCapabilities: []string{"topic"}}
	one, err := receive("go.topics", options)
	if err != nil {
		return err
	}
	two, err := receive("go.topics", options)
	if err != nil {
		return err
	}
	if err := send("/topics/go.topics", "for all"); err != nil {
		return err
	}
	if err := expect(one, "for all"); err != nil {
		return err
	}
	return expect(two, "for all")
}

func durable() error {
	options := &amqp.ReceiverOptions{
		Name:               "sub",
		SourceDurability:   amqp.DurabilityUnsettledState,
		SourceExpiryPolicy: amqp.ExpiryPolicyNever,
		Credit:             5,
	}
	first, err := receive("/topics/go.durable", options)
	if err != nil {
		return err
	}
	if err := send("/topics/go.durable", "one"); err != nil {
		return err
	}
	if err := expect(first, "one"); err != nil {
		return err
	}
	before := session
	defer func() { session = before }()
	other := connect()
	second, err := receive("/topics/go.durable", options)
	if err != nil {
		return err
	}
	var stolen *amqp.LinkError
	if _, err := first.Receive(ctx, nil); !errors.As(err, &stolen) || stolen.RemoteErr == nil ||
		stolen.RemoteErr.Condition != "amqp:link:stolen" {
		return fmt.Errorf("the link was not stolen, but %v", err)
	}
	if err := send("/topics/go.durable", "two"); err != nil {
		return err
	}
	if err := expect(second, "two"); err != nil {
		return err
	}
	return other.Close()
}

func dynamic() error {
	receiver, err := receive("", &amqp.ReceiverOptions{DynamicAddress: true, Credit: 1})
	if err != nil {
		return err
	}
	if err := send(receiver.Address(), "reply"); err != nil {
		return err
	}
	if err := expect(receiver, "reply"); err != nil {
		return err
	}
	return receiver.Close(ctx)
}

func second() error {
	if err := send("go.second", "x"); err != nil {
		return err
	}
	_, err := receive("go.second", &amqp.ReceiverOptions{SettlementMode: amqp.ReceiverSettleModeSecond.Ptr()}, "x")
	return err
}

func large() error {
	text := strings.Repeat("x", 5_000_000)
	if err := send("go.large", text); err != nil {
		return err
	}
	_, err := receive("go.large", nil, text)
	return err
}

func streams() error {
	if err := send("log", "0", "1", "2"); err != nil {
		return err
	}
	filters := []amqp.LinkFilter{amqp.NewLinkFilter("rabbitmq:stream-offset-spec", 0, "first")}
	for range 2 {
		if _, err := receive("log", &amqp.ReceiverOptions{Filters: filters, Credit: 2}, "0", "1", "2"); err != nil {
			return err
		}
	}
	return nil
}

func refused() error {
	_, err := session.NewSender(ctx, "/queues/refused", nil)
	var refused *amqp.Error
	if !errors.As(err, &refused) {
		var link *amqp.LinkError
		if !errors.As(err, &link) || link.RemoteErr == nil {
			return fmt.Errorf("the link was not refused, but %v", err)
		}
		refused = link.RemoteErr
	}
	if refused.Condition != amqp.ErrCondUnauthorizedAccess {
		return fmt.Errorf("the link was refused with %v", refused)
	}
	return nil
}
