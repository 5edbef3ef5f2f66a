import { expect, test } from '@jest/globals';
import { serviceConfig, urlOf } from './service.ts';

const GOOD = {
  DATABASE_URL: 'postgres://steward_projects@127.0.0.1:5432/steward',
  STEWARD_AUTH_ISSUER: 'https://issuer.example',
  STEWARD_AUTH_AUDIENCE: 'steward',
  STEWARD_AUTH_JWKS: '/keys/auth.json',
};

test('common variables have defaults where one makes sense', () => {
  const config = serviceConfig({}, GOOD);
  expect(config.STEWARD_LISTEN).toBe('127.0.0.1:0');
  expect(config.STEWARD_REFLECTION).toBe(false);
  expect(config.STEWARD_LOG_LEVEL).toBe('info');
});

test('every wrong variable is named in one error, its value is not', () => {
  const read = () =>
    serviceConfig(
      { SMTP_URL: urlOf(['smtp', 'smtps'], 'where mail is handed over') },
      { ...GOOD, DATABASE_URL: 'mysql://u:secret@h/d', STEWARD_AUTH_ISSUER: '', STEWARD_LISTEN: '8080' },
    );
  expect(read).toThrow(/STEWARD_LISTEN must be host:port/);
  expect(read).toThrow(/DATABASE_URL must be postgres:\/\/… or postgresql:\/\/…/);
  expect(read).toThrow(/STEWARD_AUTH_ISSUER is missing: the issuer/);
  expect(read).toThrow(/SMTP_URL is missing: where mail is handed over/);
  expect(read).not.toThrow(/secret/);
});
