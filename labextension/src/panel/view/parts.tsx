/** The small parts of the panel's sections. */
import { Clipboard } from '@jupyterlab/apputils';
import { caretDownIcon, caretRightIcon, checkIcon, copyIcon } from '@jupyterlab/ui-components';
import { type ReactNode, useEffect, useRef, useState } from 'react';

import type { PanelModel, Section } from '../model';

export function Fold(props: {
  model: PanelModel;
  section: Section;
  title: string;
  aside?: ReactNode;
  children: ReactNode;
}) {
  const { model, section, title } = props;
  const open = model.open.has(section);
  const place = useRef<HTMLElement>(null);
  const wanted = model.wanted === section;
  useEffect(() => {
    if (wanted) {
      model.wanted = null;
      place.current?.scrollIntoView({ block: 'start' });
      place.current?.querySelector('button')?.focus();
    }
  }, [model, wanted]);
  const Caret = open ? caretDownIcon : caretRightIcon;
  const id = `jp-hwprune-section-${section}`;
  return (
    <section className="jp-hwprune-section" ref={place} data-testid={`section-${section}`} aria-labelledby={id}>
      <header className="jp-hwprune-sectionHead">
        <h3>
          <button
            id={id}
            type="button"
            aria-expanded={open}
            onClick={() => {
              model.toggle(section);
            }}
          >
            <Caret.react tag="span" className="jp-hwprune-caret" />
            {title}
          </button>
        </h3>
        {props.aside}
      </header>
      {open && <div className="jp-hwprune-sectionBody">{props.children}</div>}
    </section>
  );
}

/** A label over a control, with a note or what is wrong with its value. */
export function Field(props: {
  id: string;
  label: string;
  note?: ReactNode;
  fault?: string | undefined;
  children: ReactNode;
}) {
  const said = props.fault ?? props.note;
  return (
    <div className="jp-hwprune-field">
      <label htmlFor={props.id}>{props.label}</label>
      {props.children}
      {said !== undefined && said !== '' && (
        <div id={`${props.id}-said`} className={props.fault === undefined ? 'jp-hwprune-note' : 'jp-hwprune-fault'}>
          {said}
        </div>
      )}
    </div>
  );
}

export function TextField(props: {
  name: string;
  label: string;
  value: string;
  onChange: (value: string) => void;
  placeholder?: string;
  offers?: readonly string[];
  note?: ReactNode;
  fault?: string | undefined;
  disabled?: boolean;
}) {
  const id = `jp-hwprune-field-${props.name}`;
  const offers = props.offers ?? [];
  return (
    <Field id={id} label={props.label} note={props.note} fault={props.fault}>
      <input
        id={id}
        data-testid={props.name}
        className="jp-hwprune-input"
        type="text"
        spellCheck={false}
        autoComplete="off"
        value={props.value}
        placeholder={props.placeholder}
        disabled={props.disabled}
        list={offers.length > 0 ? `${id}-offers` : undefined}
        aria-invalid={props.fault !== undefined}
        aria-describedby={(props.fault ?? props.note) ? `${id}-said` : undefined}
        onChange={event => {
          props.onChange(event.target.value);
        }}
      />
      {offers.length > 0 && (
        <datalist id={`${id}-offers`}>
          {offers.map(offer => (
            <option key={offer} value={offer} />
          ))}
        </datalist>
      )}
    </Field>
  );
}

export interface Offer {
  value: string;
  label: string;
}

export function SelectField(props: {
  name: string;
  label: string;
  value: string;
  onChange: (value: string) => void;
  groups: readonly { label?: string; offers: readonly Offer[] }[];
  note?: ReactNode;
}) {
  const id = `jp-hwprune-field-${props.name}`;
  return (
    <Field id={id} label={props.label} note={props.note}>
      <select
        id={id}
        data-testid={props.name}
        className="jp-hwprune-input"
        value={props.value}
        aria-describedby={props.note ? `${id}-said` : undefined}
        onChange={event => {
          props.onChange(event.target.value);
        }}
      >
        {props.groups.map(({ label, offers }) =>
          label === undefined ? (
            offers.map(asOption)
          ) : (
            <optgroup key={label} label={label}>
              {offers.map(asOption)}
            </optgroup>
          )
        )}
      </select>
    </Field>
  );
}

/** An offer whose value is its label. */
export function asOffer(value: string): Offer {
  return { value, label: value };
}

function asOption({ value, label }: Offer) {
  return (
    <option key={value} value={value}>
      {label}
    </option>
  );
}

/** Text with a button to copy it: a command, a line of code. */
export function Copyable({ text, name }: { text: string; name: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    const timer = window.setTimeout(() => {
      setCopied(false);
    }, 1500);
    return () => {
      window.clearTimeout(timer);
    };
  }, [copied]);
  const Icon = copied ? checkIcon : copyIcon;
  return (
    <div className="jp-hwprune-copyable">
      <code data-testid={name}>
        {text.split(/(\s+)/).map((word, at) => (
          <span key={at}>{word}</span> // a browser also breaks after the dashes of an option
        ))}
      </code>
      <button
        type="button"
        className="jp-hwprune-iconButton"
        title={copied ? 'Copied' : 'Copy'}
        aria-label={copied ? 'Copied' : `Copy ${text}`}
        onClick={() => {
          Clipboard.copyToSystem(text);
          setCopied(true);
        }}
      >
        <Icon.react tag="span" />
      </button>
    </div>
  );
}
